"""The few SSH data types (RFC 4251, section 5) that certificates are made of. Pure; nothing here knows what a field means."""

from dataclasses import dataclass

_LENGTH = 4


def string(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH, "big") + data


def uint32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def uint64(number: int) -> bytes:
    return number.to_bytes(8, "big")


@dataclass(slots=True)
class Reader:
    """Takes one field after another. Raises ValueError where the data ends too early."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise ValueError("the data ends within a field")
        taken, self.at = self.data[self.at : end], end
        return taken

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(_LENGTH), "big"))
