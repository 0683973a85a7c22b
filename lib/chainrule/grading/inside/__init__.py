"""What runs inside the sandbox. Nothing here may import any other part of the library: inside, it does not exist."""
