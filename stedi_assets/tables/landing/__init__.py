"""Landing zone: the sources' files as tables, what could not be read, and who owns which device."""
