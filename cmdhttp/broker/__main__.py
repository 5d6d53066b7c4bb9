"""`python -m cmdhttp.broker`, without a look for garbage while it is imported and when it has ended."""

import atexit
import gc


def main() -> None:
    gc.disable()  # nothing in a program that is being imported is garbage
    from cmdhttp.broker.life import live  # noqa: PLC0415 - after the line above

    gc.freeze()
    gc.enable()
    atexit.register(gc.freeze)
    live()


if __name__ == "__main__":
    main()
