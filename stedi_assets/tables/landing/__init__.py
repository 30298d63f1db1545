"""Landing zone: the sources' files as tables, what could not be read, and whose devices are."""
