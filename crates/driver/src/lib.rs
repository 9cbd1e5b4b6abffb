//! One turn: handle, append, dispatch; over two small traits.
