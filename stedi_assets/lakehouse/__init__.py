"""The machinery: engine, catalog, ingest, IO manager. It knows no business rule."""
