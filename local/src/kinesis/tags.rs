//! Tags, in both generations of the API: of streams by name, and of any resource by its ARN.

use super::Kinesis;
use super::control::limit_of;
use crate::refusal::Refusal;
use crate::wire::{Check, Document, Emit, Fields};
use std::collections::BTreeMap;

/// Tags of one resource.
const MAX_TAGS: usize = 50;

pub(crate) type Tags = BTreeMap<String, String>;

/// The `Tags` of a request that creates something; none are none.
pub(super) fn read(request: Fields<'_, '_>, check: &mut Check) -> Result<Tags, Refusal> {
    let mut tags = Tags::new();
    for (key, value) in request.map("Tags")?.unwrap_or_default() {
        let value = match value {
            Document::Text(value) => value,
            Document::Null => "",
            _ => {
                return Err(Refusal::serialization(
                    "A value of 'Tags' can not be converted to a String",
                ));
            }
        };
        check.length("tags.key", Some(key), 1, 128);
        check.length("tags.value", Some(value), 0, 256);
        tags.insert(key.to_string(), value.to_owned());
    }
    if tags.len() > MAX_TAGS {
        check.items("tags", tags.len(), 0, MAX_TAGS);
    }
    Ok(tags)
}

/// The `TagKeys` of a request that removes tags: 1 to 50.
fn read_keys(request: Fields<'_, '_>, check: &mut Check) -> Result<Vec<String>, Refusal> {
    let keys = check.present("tagKeys", request.list("TagKeys")?);
    let keys = keys.unwrap_or_default();
    check.items("tagKeys", keys.len(), 1, MAX_TAGS);
    keys.iter()
        .map(|key| match key {
            Document::Text(key) => {
                check.length("tagKeys.member", Some(key), 1, 128);
                Ok(key.to_string())
            }
            _ => Err(Refusal::serialization(
                "An item of 'TagKeys' can not be converted to a String",
            )),
        })
        .collect()
}

/// Adds to the tags that a resource has; refused when they would become too many.
fn add(present: &mut Tags, added: Tags) -> Result<(), Refusal> {
    let new = added.keys().filter(|k| !present.contains_key(*k)).count();
    if present.len() + new > MAX_TAGS {
        return Err(Refusal::limit_exceeded(format!(
            "A resource can have at most {MAX_TAGS} tags."
        )));
    }
    present.extend(added);
    Ok(())
}

impl Kinesis {
    pub(super) fn add_tags_to_stream(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        check.present("tags", request.map("Tags")?);
        let added = read(request, &mut check)?;
        check.finish()?;
        let stream = self.existing(&name, self.now())?;
        let mut state = stream.state.write();
        add(&mut state.settings.tags, added)
    }

    pub(super) fn remove_tags_from_stream(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let keys = read_keys(request, &mut check)?;
        check.finish()?;
        let stream = self.existing(&name, self.now())?;
        let mut state = stream.state.write();
        state.settings.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    }

    pub(super) fn list_tags_for_stream(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let start = request.text("ExclusiveStartTagKey")?;
        check.length("exclusiveStartTagKey", start, 1, 128);
        check.range("limit", request.integer("Limit")?, 1, 50);
        let limit = limit_of(request, "Limit", MAX_TAGS, &mut check)?;
        check.finish()?;
        let stream = self.existing(&name, self.now())?;
        let state = stream.state.read();
        let mut tags = state
            .settings
            .tags
            .iter()
            .filter(|(key, _)| start.is_none_or(|start| key.as_str() > start));
        out.begin_map();
        out.begin_list_member("Tags");
        for (key, value) in tags.by_ref().take(limit) {
            write(key, value, out);
        }
        out.end();
        out.boolean_member("HasMoreTags", tags.next().is_some());
        out.end();
        Ok(())
    }

    pub(super) fn tag_resource(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let arn = check.present("resourceARN", request.text("ResourceARN")?);
        check.present("tags", request.map("Tags")?);
        let added = read(request, &mut check)?;
        check.finish()?;
        self.with_tags(arn.unwrap_or_default(), |tags| add(tags, added))
    }

    pub(super) fn untag_resource(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let arn = check.present("resourceARN", request.text("ResourceARN")?);
        let keys = read_keys(request, &mut check)?;
        check.finish()?;
        self.with_tags(arn.unwrap_or_default(), |tags| {
            tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
    }

    pub(super) fn list_tags_for_resource(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let arn = check.present("resourceARN", request.text("ResourceARN")?);
        check.finish()?;
        let tags = self.with_tags(arn.unwrap_or_default(), |tags| Ok(tags.clone()))?;
        out.begin_map();
        out.begin_list_member("Tags");
        for (key, value) in &tags {
            write(key, value, out);
        }
        out.end();
        out.end();
        Ok(())
    }

    /// Runs on the tags of a stream or of a consumer.
    fn with_tags<T>(
        &self,
        arn: &str,
        run: impl FnOnce(&mut Tags) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let now = self.now();
        if arn.contains("/consumer/") {
            let (_, consumer) = self.consumer_of_arn(arn, now)?;
            return run(&mut consumer.tags.lock());
        }
        let stream = self.existing(self.name_of_arn(arn)?, now)?;
        let mut state = stream.state.write();
        run(&mut state.settings.tags)
    }
}

fn write(key: &str, value: &str, out: &mut (dyn Emit + Send)) {
    out.begin_map();
    out.text_member("Key", key);
    out.text_member("Value", value);
    out.end();
}
