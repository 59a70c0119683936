//! Requests to and answers from JSON, as pure functions.

use super::types::{
    AttributeValue, BillingMode, CreateTable, DeleteItem, GetItem, Item, KeyAttribute, Page,
    Placeholders, PutItem, ReturnValues, Scan, TableDescription, UpdateItem,
};
use crate::client::Undecodable;
use base64_simd::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

type Decoded<T> = Result<T, Undecodable>;

fn wrong(what: &str) -> Undecodable {
    Undecodable(what.to_owned())
}

fn to_json(value: &AttributeValue) -> Value {
    let base64 = |bytes: &Bytes| STANDARD.encode_to_string(bytes);
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::B(bytes) => json!({ "B": base64(bytes) }),
        AttributeValue::Bool(yes) => json!({ "BOOL": yes }),
        AttributeValue::Null => json!({ "NULL": true }),
        AttributeValue::Ss(set) => json!({ "SS": set }),
        AttributeValue::Ns(set) => json!({ "NS": set }),
        AttributeValue::Bs(set) => json!({ "BS": set.iter().map(base64).collect::<Vec<_>>() }),
        AttributeValue::L(list) => json!({ "L": list.iter().map(to_json).collect::<Vec<_>>() }),
        AttributeValue::M(map) => json!({ "M": item_to_json(map) }),
    }
}

fn item_to_json(item: &Item) -> Value {
    Value::Object(
        item.iter()
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect(),
    )
}

fn list(value: &Value) -> Decoded<&[Value]> {
    let items = value.as_array().ok_or_else(|| wrong("not a list"))?;
    Ok(items)
}

/// Reads one attribute's value, as it stands in DynamoDB's JSON.
fn from_json(value: &Value) -> Decoded<AttributeValue> {
    let (kind, inner) = value
        .as_object()
        .filter(|o| o.len() == 1)
        .and_then(|o| o.iter().next())
        .ok_or_else(|| wrong("an attribute's value is not an object with one type"))?;
    let text = |v: &Value| {
        v.as_str()
            .map(str::to_owned)
            .ok_or_else(|| wrong("not a text"))
    };
    let bytes = |v: &Value| {
        let text = v.as_str().ok_or_else(|| wrong("not base64"))?;
        let bytes = STANDARD
            .decode_to_vec(text)
            .map_err(|_| wrong("not base64"))?;
        Ok::<_, Undecodable>(Bytes::from(bytes))
    };
    Ok(match kind.as_str() {
        "S" => AttributeValue::S(text(inner)?),
        "N" => AttributeValue::N(text(inner)?),
        "B" => AttributeValue::B(bytes(inner)?),
        "BOOL" => AttributeValue::Bool(inner.as_bool().ok_or_else(|| wrong("not a boolean"))?),
        "NULL" => AttributeValue::Null,
        "SS" => AttributeValue::Ss(list(inner)?.iter().map(text).collect::<Decoded<_>>()?),
        "NS" => AttributeValue::Ns(list(inner)?.iter().map(text).collect::<Decoded<_>>()?),
        "BS" => AttributeValue::Bs(list(inner)?.iter().map(bytes).collect::<Decoded<_>>()?),
        "L" => AttributeValue::L(list(inner)?.iter().map(from_json).collect::<Decoded<_>>()?),
        "M" => AttributeValue::M(item_from_json(inner)?),
        other => return Err(Undecodable(format!("an attribute of unknown type {other}"))),
    })
}

/// Reads a row in DynamoDB's JSON (`{"name": {"S": "…"}, …}`).
pub(super) fn item_from_json(value: &Value) -> Decoded<Item> {
    value
        .as_object()
        .ok_or_else(|| wrong("an item is not an object"))?
        .iter()
        .map(|(name, value)| Ok((name.clone(), from_json(value)?)))
        .collect()
}

fn body(members: Map<String, Value>) -> Vec<u8> {
    Value::Object(members).to_string().into_bytes()
}

fn members(table: &str) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("TableName".to_owned(), table.into());
    members
}

fn conditional(
    members: &mut Map<String, Value>,
    condition: Option<&String>,
    placeholders: &Placeholders,
) {
    if let Some(condition) = condition {
        members.insert("ConditionExpression".to_owned(), condition.as_str().into());
        members.insert(
            "ReturnValuesOnConditionCheckFailure".to_owned(),
            "ALL_OLD".into(),
        );
    }
    if !placeholders.names.is_empty() {
        members.insert(
            "ExpressionAttributeNames".to_owned(),
            json!(placeholders.names),
        );
    }
    if !placeholders.values.is_empty() {
        let values = item_to_json(&placeholders.values);
        members.insert("ExpressionAttributeValues".to_owned(), values);
    }
}

pub(super) fn table(table: &str) -> Vec<u8> {
    body(members(table))
}

pub(super) fn create_table(input: &CreateTable) -> Vec<u8> {
    let mut m = members(&input.table_name);
    let definitions: Vec<_> = input
        .key
        .iter()
        .map(|k| json!({ "AttributeName": k.name, "AttributeType": k.kind }))
        .collect();
    let schema: Vec<_> = input
        .key
        .iter()
        .map(|k| json!({ "AttributeName": k.name, "KeyType": if k.is_hash { "HASH" } else { "RANGE" } }))
        .collect();
    m.insert("AttributeDefinitions".to_owned(), definitions.into());
    m.insert("KeySchema".to_owned(), schema.into());
    match input.billing_mode {
        BillingMode::PayPerRequest => {
            m.insert("BillingMode".to_owned(), "PAY_PER_REQUEST".into());
        }
        BillingMode::Provisioned { read, write } => {
            m.insert("BillingMode".to_owned(), "PROVISIONED".into());
            let units = json!({ "ReadCapacityUnits": read, "WriteCapacityUnits": write });
            m.insert("ProvisionedThroughput".to_owned(), units);
        }
    }
    if input.deletion_protection {
        m.insert("DeletionProtectionEnabled".to_owned(), true.into());
    }
    body(m)
}

pub(super) fn put_item(input: &PutItem) -> Vec<u8> {
    let mut m = members(&input.table_name);
    m.insert("Item".to_owned(), item_to_json(&input.item));
    conditional(
        &mut m,
        input.condition_expression.as_ref(),
        &input.placeholders,
    );
    body(m)
}

pub(super) fn get_item(input: &GetItem) -> Vec<u8> {
    let mut m = members(&input.table_name);
    m.insert("Key".to_owned(), item_to_json(&input.key));
    m.insert("ConsistentRead".to_owned(), input.consistent_read.into());
    body(m)
}

pub(super) fn update_item(input: &UpdateItem) -> Vec<u8> {
    let mut m = members(&input.table_name);
    m.insert("Key".to_owned(), item_to_json(&input.key));
    m.insert(
        "UpdateExpression".to_owned(),
        input.update_expression.as_str().into(),
    );
    conditional(
        &mut m,
        input.condition_expression.as_ref(),
        &input.placeholders,
    );
    let wanted = match input.return_values {
        ReturnValues::None => "NONE",
        ReturnValues::AllNew => "ALL_NEW",
        ReturnValues::AllOld => "ALL_OLD",
    };
    m.insert("ReturnValues".to_owned(), wanted.into());
    body(m)
}

pub(super) fn delete_item(input: &DeleteItem) -> Vec<u8> {
    let mut m = members(&input.table_name);
    m.insert("Key".to_owned(), item_to_json(&input.key));
    conditional(
        &mut m,
        input.condition_expression.as_ref(),
        &input.placeholders,
    );
    body(m)
}

pub(super) fn scan(input: &Scan) -> Vec<u8> {
    let mut m = members(&input.table_name);
    m.insert("ConsistentRead".to_owned(), input.consistent_read.into());
    if let Some(key) = &input.exclusive_start_key {
        m.insert("ExclusiveStartKey".to_owned(), item_to_json(key));
    }
    if let Some(limit) = input.limit {
        m.insert("Limit".to_owned(), limit.into());
    }
    body(m)
}

fn parse(body: &Bytes) -> Decoded<Value> {
    serde_json::from_slice(body).map_err(|e| Undecodable(e.to_string()))
}

pub(super) fn nothing(body: &Bytes) -> Decoded<()> {
    parse(body).map(|_| ())
}

fn member_item(body: &Bytes, member: &str) -> Decoded<Option<Item>> {
    parse(body)?.get(member).map(item_from_json).transpose()
}

pub(super) fn item(body: &Bytes) -> Decoded<Option<Item>> {
    member_item(body, "Item")
}

pub(super) fn attributes(body: &Bytes) -> Decoded<Option<Item>> {
    member_item(body, "Attributes")
}

pub(super) fn page(body: &Bytes) -> Decoded<Page> {
    let value = parse(body)?;
    let items = value
        .get("Items")
        .and_then(Value::as_array)
        .ok_or_else(|| wrong("Items is missing"))?
        .iter()
        .map(item_from_json)
        .collect::<Decoded<_>>()?;
    let last_evaluated_key = value
        .get("LastEvaluatedKey")
        .map(item_from_json)
        .transpose()?;
    Ok(Page {
        items,
        last_evaluated_key,
    })
}

pub(super) fn table_description(body: &Bytes) -> Decoded<TableDescription> {
    let value = parse(body)?;
    let table = value
        .get("Table")
        .ok_or_else(|| wrong("Table is missing"))?;
    let text = |v: &Value, key: &str| {
        let text = v.get(key).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| Undecodable(format!("{key} is missing")))
    };
    let list = |key: &str| {
        table
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let definitions = list("AttributeDefinitions");
    let key = list("KeySchema")
        .iter()
        .map(|element| {
            let name = text(element, "AttributeName")?;
            let definition = definitions
                .iter()
                .find(|d| d.get("AttributeName").and_then(Value::as_str) == Some(&name));
            let kind = text(definition.unwrap_or(&Value::Null), "AttributeType")?;
            Ok(KeyAttribute {
                is_hash: text(element, "KeyType")? == "HASH",
                name,
                kind,
            })
        })
        .collect::<Decoded<_>>()?;
    let indexes = list("GlobalSecondaryIndexes")
        .iter()
        .map(|index| text(index, "IndexName"))
        .collect::<Decoded<_>>()?;
    let billing_mode = table
        .get("BillingModeSummary")
        .and_then(|b| b.get("BillingMode"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    Ok(TableDescription {
        table_name: text(table, "TableName")?,
        table_status: text(table, "TableStatus")?,
        key,
        indexes,
        billing_mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn sample() -> Item {
        let set = |items: &[&str]| {
            items
                .iter()
                .map(|s| (*s).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let inner: Item = [("x".to_owned(), AttributeValue::n(1))].into();
        [
            ("s".to_owned(), AttributeValue::s("text")),
            ("n".to_owned(), AttributeValue::n(812.25)),
            (
                "b".to_owned(),
                AttributeValue::B(Bytes::from_static(b"\x00\xff")),
            ),
            ("t".to_owned(), AttributeValue::Bool(true)),
            ("z".to_owned(), AttributeValue::Null),
            ("ss".to_owned(), AttributeValue::Ss(set(&["a", "b"]))),
            ("ns".to_owned(), AttributeValue::Ns(set(&["1", "2"]))),
            (
                "bs".to_owned(),
                AttributeValue::Bs([Bytes::from_static(b"x")].into()),
            ),
            (
                "l".to_owned(),
                AttributeValue::L(vec![AttributeValue::M(inner)]),
            ),
        ]
        .into()
    }

    #[test]
    fn rows_survive_the_way_there_and_back() {
        let value = item_to_json(&sample());
        assert_eq!(item_from_json(&value).unwrap(), sample());
        assert_eq!(value["b"], json!({ "B": "AP8=" }));
        assert_eq!(value["n"], json!({ "N": "812.25" }));
    }

    #[test]
    fn conditions_bring_the_row_back_when_they_fail() {
        let body = update_item(&UpdateItem {
            table_name: "t".to_owned(),
            key: [("k".to_owned(), AttributeValue::s("a"))].into(),
            update_expression: "SET #c = :n".to_owned(),
            condition_expression: Some("#c = :o".to_owned()),
            placeholders: Placeholders {
                names: [("#c".to_owned(), "leaseCounter".to_owned())].into(),
                values: [
                    (":n".to_owned(), AttributeValue::n(2)),
                    (":o".to_owned(), AttributeValue::n(1)),
                ]
                .into(),
            },
            return_values: ReturnValues::AllNew,
        });
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            value,
            json!({
                "TableName": "t",
                "Key": { "k": { "S": "a" } },
                "UpdateExpression": "SET #c = :n",
                "ConditionExpression": "#c = :o",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                "ExpressionAttributeNames": { "#c": "leaseCounter" },
                "ExpressionAttributeValues": { ":n": { "N": "2" }, ":o": { "N": "1" } },
                "ReturnValues": "ALL_NEW",
            })
        );
    }

    #[test]
    fn garbled_rows_are_refused() {
        for bad in [
            json!({"a": {}}),
            json!({"a": {"S": 1}}),
            json!({"a": {"Q": "x"}}),
            json!([1]),
        ] {
            assert!(item_from_json(&bad).is_err(), "{bad}");
        }
        assert!(page(&Bytes::from_static(b"{}")).is_err());
        assert!(page(&Bytes::from_static(b"{\"Items\":[")).is_err());
        assert_eq!(item(&Bytes::from_static(b"{}")).unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_spoilt_answer_panics(at in 0..300_usize, byte: u8, cut in 0..600_usize, any: Vec<u8>) {
            let sound = json!({"Items": [item_to_json(&sample())], "Item": item_to_json(&sample()),
                "Table": {"TableName": "t", "TableStatus": "ACTIVE", "KeySchema": [], "AttributeDefinitions": []}});
            let mut sound = sound.to_string().into_bytes();
            if let Some(place) = sound.get_mut(at) {
                *place = byte;
            }
            sound.truncate(cut);
            for body in [Bytes::from(sound), Bytes::from(any)] {
                let _ = (page(&body), item(&body), attributes(&body), table_description(&body));
            }
        }
    }
}
