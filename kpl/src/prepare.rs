//! What is done to a record before it is admitted: serialized, compressed.

use crate::error::PutError;
use crate::record::Record;
#[cfg(feature = "compression")]
use aggregation::Compression;
use aggregation::GlueHeader;
use std::fmt;
use std::sync::Arc;

/// Why a [`Serializer`] refuses a record.
pub type SerializeError = Box<dyn std::error::Error + Send + Sync>;

/// Gets the stream's name and each record, and gives the record that is put in its place: for schemas,
/// for encryption of one's own. Runs on the caller's thread, before any limit is looked at, and may
/// block it as long as the caller likes.
pub trait Serializer: Send + Sync {
    /// The record to be put.
    ///
    /// # Errors
    /// Why it cannot be: the caller of `put` gets it with [`PutError::Serializer`].
    fn serialize(&self, stream: &str, record: Record) -> Result<Record, SerializeError>;
}

/// Puts the header of the AWS Glue Schema Registry before each record's data: the consumers'
/// deserializers find the schema by it. No registry is asked; the data has to be in the schema's format
/// already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlueSerializer {
    header: GlueHeader,
}

impl GlueSerializer {
    /// By this header. Data under a header that says it is compressed has to be.
    #[must_use]
    pub const fn new(header: GlueHeader) -> Self {
        Self { header }
    }
}

impl Serializer for GlueSerializer {
    fn serialize(&self, _: &str, mut record: Record) -> Result<Record, SerializeError> {
        record.data = self.header.prepend(&record.data);
        Ok(record)
    }
}

/// What is done to each record.
#[derive(Clone, Default)]
pub(crate) struct Preparation {
    pub(crate) serializer: Option<Arc<dyn Serializer>>,
    #[cfg(feature = "compression")]
    pub(crate) compression: Option<Compression>,
}

impl fmt::Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation")
            .field("serializer", &self.serializer.is_some())
            .finish_non_exhaustive()
    }
}

impl Preparation {
    /// Nothing is done to any.
    pub(crate) fn is_idle(&self) -> bool {
        #[cfg(feature = "compression")]
        if self.compression.is_some() {
            return false;
        }
        self.serializer.is_none()
    }

    fn apply(&self, stream: &str, record: Record) -> Result<Record, SerializeError> {
        let record = match &self.serializer {
            Some(serializer) => serializer.serialize(stream, record)?,
            None => record,
        };
        #[cfg(feature = "compression")]
        if let Some(compression) = self.compression {
            let compressed = aggregation::compress(compression, &record.data)?;
            return Ok(match compressed {
                Some(data) => Record {
                    data: data.into(),
                    ..record
                },
                None => record,
            });
        }
        Ok(record)
    }

    /// The record to be put, and the one that is given back if it is not.
    pub(crate) fn one(
        &self,
        stream: &str,
        record: Record,
    ) -> Result<(Record, Option<Record>), PutError> {
        if self.is_idle() {
            return Ok((record, None));
        }
        let original = record.clone();
        match self.apply(stream, record) {
            Ok(record) => Ok((record, Some(original))),
            Err(source) => Err(PutError::Serializer {
                source,
                record: Box::new(original),
            }),
        }
    }

    /// The records to be put, and those that are given back if they are not, or the place of the first
    /// that is refused, and why.
    #[expect(clippy::type_complexity, reason = "taken apart at its one call")]
    pub(crate) fn all(
        &self,
        stream: &str,
        records: Vec<Record>,
    ) -> Result<(Vec<Record>, Option<Vec<Record>>), (usize, SerializeError, Vec<Record>)> {
        if self.is_idle() {
            return Ok((records, None));
        }
        let mut prepared = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            match self.apply(stream, record.clone()) {
                Ok(record) => prepared.push(record),
                Err(source) => return Err((index, source, records)),
            }
        }
        Ok((prepared, Some(records)))
    }
}
