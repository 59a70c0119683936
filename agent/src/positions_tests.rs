use super::*;

fn row(id: Generation) -> Row {
    Row {
        id,
        path: PathBuf::from(OsStr::from_bytes(b"/logs/app\xff.log")),
        place: Place {
            device: u64::MAX,
            inode: 7,
            born: Some(-3),
        },
        head: Head::of(b"head"),
        position: 12,
        size: 40,
        gone: None,
    }
}

/// The table as the original makes it, with rows of its form.
fn original_table(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE FILE_CHECKPOINTS (flow text, path text, fileId text,
                 lastModifiedTime bigint, size bigint, offset bigint, lastUpdated datetime,
                 primary key (flow, path));
             INSERT INTO FILE_CHECKPOINTS VALUES
                 ('f', '/logs/app.log.1', '(dev=fd00,ino=9)', 5, 1, 1, '2026-01-01 00:00:00.000'),
                 ('f', '/logs/app.log', '(dev=fd00,ino=10)', 6, 100, 250, '2026-01-02 00:00:00.000'),
                 ('g', '/logs/other', '(dev=fd00,ino=11)', 7, 1, 3, '2026-01-03 00:00:00.000');",
        )
        .unwrap();
}

fn dump(path: &Path) -> Vec<(String, String, String, i64, i64, i64, String)> {
    let connection = Connection::open(path).unwrap();
    let mut rows = connection
        .prepare("SELECT * FROM FILE_CHECKPOINTS ORDER BY flow, path")
        .unwrap();
    let rows = rows
        .query_map([], |r| {
            Ok((
                r.get(0)?,
                r.get(1)?,
                r.get(2)?,
                r.get(3)?,
                r.get(4)?,
                r.get(5)?,
                r.get(6)?,
            ))
        })
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn rows_survive_a_restart_and_flows_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/the/way/positions");
    {
        let positions = Positions::open(&path, None).unwrap();
        assert_eq!(positions.load("f").await.unwrap(), Stored::default());
        let gone = Row {
            gone: Some(5),
            ..row(2)
        };
        let changes = vec![Change::Put(row(1)), Change::Put(gone), Change::Put(row(3))];
        positions.save("f", changes).await.unwrap();
        positions
            .save("g", vec![Change::Put(row(1))])
            .await
            .unwrap();
        positions.save("f", vec![Change::Delete(3)]).await.unwrap();
        let moved = Row {
            position: u64::MAX,
            ..row(1)
        };
        positions.save("f", vec![Change::Put(moved)]).await.unwrap();
    }
    let positions = Positions::open(&path, None).unwrap();
    let stored = positions.load("f").await.unwrap();
    assert!(stored.begun);
    assert_eq!(stored.rows.len(), 2);
    assert_eq!(
        stored.rows[0],
        Row {
            position: u64::MAX,
            ..row(1)
        }
    );
    assert_eq!(stored.rows[1].gone, Some(5));
    assert_eq!(positions.load("g").await.unwrap().rows, [row(1)]);
    positions.save("h", vec![]).await.unwrap();
    assert!(positions.load("h").await.unwrap().begun);
}

#[tokio::test]
async fn the_originals_table_is_a_starting_position_and_is_never_altered() {
    let dir = tempfile::tempdir().unwrap();
    let (same, other) = (dir.path().join("checkpoints"), dir.path().join("ours"));
    original_table(&same);
    let before = dump(&same);
    let expected = OriginalRow {
        path: "/logs/app.log".into(),
        file_id: Some((0xfd00, 10)),
        modified: 6,
        offset: 250,
    };
    {
        let positions = Positions::open(&same, None).unwrap();
        assert_eq!(
            positions.load("f").await.unwrap().original,
            Some(expected.clone())
        );
        assert_eq!(positions.load("none").await.unwrap().original, None);
        positions
            .save("f", vec![Change::Put(row(1))])
            .await
            .unwrap();
        let begun = positions.load("f").await.unwrap();
        assert_eq!((begun.begun, begun.original), (true, None));
    }
    assert_eq!(dump(&same), before);
    let bytes = std::fs::read(&same).unwrap();
    let positions = Positions::open(&other, Some(&same)).unwrap();
    assert_eq!(positions.load("f").await.unwrap().original, Some(expected));
    positions
        .save("f", vec![Change::Put(row(1))])
        .await
        .unwrap();
    assert_eq!(std::fs::read(&same).unwrap(), bytes);
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);

    std::fs::write(
        at("text"),
        "this is no database, and long enough to be looked at".repeat(50),
    )
    .unwrap();
    assert!(matches!(
        Positions::open(&at("text"), None),
        Err(PositionsError::Corrupt { .. })
    ));
    let after = std::fs::read(at("text")).unwrap();
    assert!(after.starts_with(b"this is no database"));

    let first = Positions::open(&at("shared"), None).unwrap();
    assert!(matches!(
        Positions::open(&at("shared"), None),
        Err(PositionsError::InUse { .. })
    ));
    drop(first);
    assert!(Positions::open(&at("shared"), None).is_ok());

    std::fs::write(at("file"), "").unwrap();
    assert!(matches!(
        Positions::open(&at("file").join("below"), None),
        Err(PositionsError::Unopenable { .. })
    ));

    let locked = Connection::open(at("locked")).unwrap();
    locked
        .execute_batch("BEGIN EXCLUSIVE; CREATE TABLE t (x)")
        .unwrap();
    let store = Positions::open(&at("locked"), None);
    assert!(
        matches!(store, Err(PositionsError::Locked { .. })),
        "{store:?}"
    );
}
