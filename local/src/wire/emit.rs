//! The writer that an operation's answer goes through.

/// Writes one document. Calls must nest: each `begin_*` has its `end`, and inside a map each value
/// follows a `key`.
pub(crate) trait Emit {
    /// Opens a structure.
    fn begin_map(&mut self);
    /// Opens a list.
    fn begin_list(&mut self);
    /// Closes the innermost structure or list.
    fn end(&mut self);
    /// Names the next value of a structure. Names need no escapes.
    fn key(&mut self, name: &'static str);
    /// Writes a string.
    fn text(&mut self, value: &str);
    /// Writes a whole number.
    fn integer(&mut self, value: u64);
    /// Writes a truth value.
    fn boolean(&mut self, value: bool);
    /// Writes bytes: base64 text in JSON, a byte string in CBOR.
    fn blob(&mut self, value: &[u8]);
    /// Writes a point in time given in milliseconds since the Unix epoch: seconds with fraction in
    /// JSON, milliseconds under tag 1 in CBOR.
    fn timestamp(&mut self, millis: u64);
    /// Makes room for about so many more bytes.
    fn reserve(&mut self, bytes: usize);
    /// The bytes written; none when nothing was.
    fn finish(self: Box<Self>) -> Vec<u8>;
}

/// Members of a structure in one call each.
impl dyn Emit + Send + '_ {
    /// A string member.
    pub(crate) fn text_member(&mut self, name: &'static str, value: &str) {
        self.key(name);
        self.text(value);
    }

    /// A string member, left out when there is none.
    pub(crate) fn optional_text_member(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text_member(name, value);
        }
    }

    /// A whole-number member.
    pub(crate) fn integer_member(&mut self, name: &'static str, value: u64) {
        self.key(name);
        self.integer(value);
    }

    /// A truth-value member.
    pub(crate) fn boolean_member(&mut self, name: &'static str, value: bool) {
        self.key(name);
        self.boolean(value);
    }

    /// A timestamp member, in milliseconds since the Unix epoch.
    pub(crate) fn timestamp_member(&mut self, name: &'static str, millis: u64) {
        self.key(name);
        self.timestamp(millis);
    }

    /// Opens a structure as a member.
    pub(crate) fn begin_map_member(&mut self, name: &'static str) {
        self.key(name);
        self.begin_map();
    }

    /// Opens a list as a member.
    pub(crate) fn begin_list_member(&mut self, name: &'static str) {
        self.key(name);
        self.begin_list();
    }
}
