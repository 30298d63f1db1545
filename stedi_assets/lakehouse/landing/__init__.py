"""Landing files: what lies in the landing folder, how it is read, what was taken in."""
