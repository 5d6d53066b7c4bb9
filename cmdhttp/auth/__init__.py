"""Who is calling? One ordered chain that ends in a Principal or a 401."""
