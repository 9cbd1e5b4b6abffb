//! Server-sent events, as far as our own server speaks them: `event`, `id`, `data`; lines that begin with a colon are
//! keep-alives.

/// No event of ours is larger; a stream that sends more is not ours.
const EVENT_LIMIT: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` when the stream does not name it.
    pub(crate) name: String,
    /// To be given back as `Last-Event-ID`.
    pub(crate) id: Option<String>,
    /// Its lines joined.
    pub(crate) data: String,
}

/// Why a stream could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SseError {
    /// An event never ends.
    #[error("an event of the stream is larger than 1 MiB")]
    TooLarge,
}

/// Takes bytes as they come and gives events as they are whole.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    pending: Vec<u8>,
    name: String,
    id: Option<String>,
    data: Vec<String>,
    size: usize,
}

impl Parser {
    /// The events that these bytes complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, SseError> {
        let mut events = Vec::new();
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.size += line.len();
            let line = String::from_utf8_lossy(&line);
            events.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        if self.size + self.pending.len() > EVENT_LIMIT { Err(SseError::TooLarge) } else { Ok(events) }
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            self.size = 0;
            let (name, id, data) = (std::mem::take(&mut self.name), self.id.take(), std::mem::take(&mut self.data));
            if data.is_empty() {
                return None;
            }
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return Some(Event { name, id, data: data.join("\n") });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "id" => self.id = Some(value.to_owned()),
            "data" => self.data.push(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_the_bytes_are_cut() {
        let stream = ": hello\n\nevent: progress\nid: 7\ndata: {\"a\":\ndata: 1}\r\n\r\n:\n\ndata: x\n\nevent: ended\ndata: cut";
        for cut in 1..stream.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> = stream.as_bytes().chunks(cut).flat_map(|bytes| parser.feed(bytes).unwrap()).collect();
            assert_eq!(events.len(), 2, "cut every {cut} bytes");
            assert_eq!((events[0].name.as_str(), events[0].id.as_deref()), ("progress", Some("7")));
            assert_eq!(events[0].data, "{\"a\":\n1}");
            assert_eq!((events[1].name.as_str(), events[1].id.as_deref()), ("message", None));
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        let line = [&b"data: "[..], &vec![b'x'; 70_000], &b"\n"[..]].concat();
        assert!((0..20).any(|_| parser.feed(&line).is_err()));
        assert!(Parser::default().feed(&vec![b'x'; EVENT_LIMIT + 1]).is_err());
    }
}
