"""Landing files: what lies in the landing folder, how it is read, what was taken in.

- What is there: `ledger` (a file, and what became of it), `arrivals` (what is new), `ingest` (takes
  it in, one commit a source).
- Reading: `reader` turns files into Parquet. It asks `lines`, which matches plain lines (`shapes`,
  `patterns`) and leaves the rest to `scanner` (`objects`; `fragments` and `object_end` where
  something is broken). `text` unpacks and decodes, `buffer` holds it in blocks, `parquet` writes.
- Meaning: `values`, `rows`, `person`; `profile` (what a file's objects look like).
- What gives no row: `unreadable`, `rejects`.
"""
