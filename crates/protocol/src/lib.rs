//! Words <-> topics and bytes: the native, signed dialect and the REST documents.
