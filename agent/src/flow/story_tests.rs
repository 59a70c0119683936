//! Single stories of a flow.

use super::harness::{Bench, Manner};
use crate::split::RECORD_LIMIT;
use rusqlite::Connection;
use std::fs;

const START: &str = r#","initialPosition":"START_OF_FILE""#;

#[tokio::test(start_paused = true)]
async fn the_end_of_the_newest_file_is_the_default_start_and_a_partial_line_is_sent_whole() {
    let mut bench = Bench::new("*.log", "");
    bench.append("app.log", "old\npar");
    bench.start().await;
    bench.run_for(5).await;
    bench.append("app.log", "tial\nnew\n");
    bench.append("later.log", "first\n");
    bench.run_for(5).await;
    let mut stored = bench.stored();
    stored.sort();
    assert_eq!(stored, ["first\n", "new\n", "partial\n"]);
}

#[tokio::test(start_paused = true)]
async fn the_starting_position_is_stored_before_the_first_byte_is_read() {
    let mut bench = Bench::new("*.log", "");
    bench.append("app.log", "old\n");
    *bench.stream.manner.lock() = Manner {
        stuck: true,
        ..Manner::default()
    };
    bench.start().await;
    bench.run_for(2).await;
    bench.append("app.log", "unsent\n");
    bench.append("new.log", "unsent too\n");
    bench.run_for(5).await;
    let rows = bench.rows().await;
    assert_eq!(rows.iter().map(|r| r.position).collect::<Vec<_>>(), [4, 0]);
    assert_eq!(bench.stream.put.lock().len(), 2);
    bench.kill().await;
    *bench.stream.manner.lock() = Manner::default();
    bench.start().await;
    bench.stored_are(&["unsent\n", "unsent too\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_exact_name_that_is_renamed_is_read_to_its_end_also_after_a_kill() {
    let mut bench = Bench::new("app.log", START);
    bench.append("app.log", "one\n");
    bench.start().await;
    bench.stored_are(&["one\n"]).await;
    bench.run_for(2).await;
    bench.kill().await;
    bench.append("app.log", "two\n");
    fs::rename(bench.path("app.log"), bench.path("app.log.1")).unwrap();
    bench.append("app.log", "three\n");
    bench.start().await;
    bench.stored_are(&["one\n", "two\n", "three\n"]).await;
    bench.append("app.log.1", "late\n");
    bench
        .stored_are(&["one\n", "two\n", "three\n", "late\n"])
        .await;
    assert_eq!(bench.stop().await.bytes_behind, 0);
}

#[tokio::test(start_paused = true)]
async fn an_exact_name_that_is_copied_and_truncated_goes_on_in_the_copy() {
    let mut bench = Bench::new("app.log", START);
    bench.append("app.log", "one\n");
    bench.start().await;
    bench.stored_are(&["one\n"]).await;
    bench.run_for(2).await;
    bench.kill().await;
    bench.append("app.log", "two\n");
    fs::copy(bench.path("app.log"), bench.path("app.log.1")).unwrap();
    fs::write(bench.path("app.log"), "three, and longer than before\n").unwrap();
    bench.start().await;
    bench
        .stored_are(&["one\n", "two\n", "three, and longer than before\n"])
        .await;
    bench.run_for(90).await;
    assert_eq!(bench.stored().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_held_back_until_the_truncation() {
    let mut bench = Bench::new("app.log*", START);
    bench.append("app.log", "one\ntwo\n");
    bench.start().await;
    bench.stored_are(&["one\n", "two\n"]).await;
    fs::copy(bench.path("app.log"), bench.path("app.log.1")).unwrap();
    bench.run_for(45).await;
    assert_eq!(bench.stored().len(), 2);
    fs::File::options()
        .write(true)
        .open(bench.path("app.log"))
        .unwrap()
        .set_len(0)
        .unwrap();
    bench.append("app.log", "three\n");
    bench.run_for(120).await;
    assert_eq!(bench.stored(), ["one\n", "two\n", "three\n"]);
    let report = bench.stop().await;
    assert_eq!(
        (
            report.files_truncated,
            report.bytes_lost,
            report.bytes_behind
        ),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_that_repeats_another_for_too_long_is_a_file_of_its_own() {
    let mut bench = Bench::new("app.log*", START);
    bench.append("app.log", "same\n");
    bench.start().await;
    bench.stored_are(&["same\n"]).await;
    bench.append("app.log.other", "same\n");
    bench.run_for(50).await;
    assert_eq!(bench.stored().len(), 1);
    bench.stored_are(&["same\n", "same\n"]).await;
    bench.append("app.log.more", "same\nbut not the same\n");
    bench.run_for(5).await;
    assert_eq!(bench.stored().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn truncated_without_a_copy_is_counted_and_read_from_the_start() {
    let mut bench = Bench::new("app.log", START);
    bench.append("app.log", "one\ntwo\n");
    bench.start().await;
    bench.stored_are(&["one\n", "two\n"]).await;
    fs::write(bench.path("app.log"), "refilled past the old size\n").unwrap();
    bench
        .stored_are(&["one\n", "two\n", "refilled past the old size\n"])
        .await;
    fs::write(bench.path("app.log"), "x\n").unwrap();
    bench
        .stored_are(&["one\n", "two\n", "refilled past the old size\n", "x\n"])
        .await;
    let report = bench.stop().await;
    assert_eq!((report.files_truncated, report.bytes_lost), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn truncated_replaced_and_deleted_while_down() {
    let mut bench = Bench::new("*.log", START);
    bench.append("a.log", "a1\na2\n");
    bench.start().await;
    bench.stored_are(&["a1\n", "a2\n"]).await;
    bench.append("b.log", "b1\n");
    bench.append("c.log", "c1\n");
    bench.run_for(3).await;
    bench.kill().await;
    fs::write(bench.path("a.log"), "A\n").unwrap();
    fs::remove_file(bench.path("b.log")).unwrap();
    bench.append("b.log", "B1\nB2\n");
    fs::remove_file(bench.path("c.log")).unwrap();
    bench.start().await;
    bench.run_for(5).await;
    let mut stored = bench.stored().split_off(4);
    stored.sort();
    assert_eq!(stored, ["A\n", "B1\n", "B2\n"]);
    bench.append("a.log", "end\n");
    bench.run_for(2).await;
    assert_eq!(bench.stored().last().unwrap(), "end\n");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_file_is_read_to_the_end_of_its_descriptor() {
    let mut bench = Bench::new("app.log", START);
    *bench.stream.manner.lock() = Manner {
        delay_ms: 5_000,
        ..Manner::default()
    };
    bench.append("app.log", "one\n");
    bench.start().await;
    bench.stored_are(&["one\n"]).await;
    let mut writer = fs::File::options()
        .append(true)
        .open(bench.path("app.log"))
        .unwrap();
    fs::remove_file(bench.path("app.log")).unwrap();
    bench.run_for(3).await;
    std::io::Write::write_all(&mut writer, b"two\nno newline").unwrap();
    bench.stored_are(&["one\n", "two\n", "no newline"]).await;
    bench.run_for(70).await;
    let rows = bench.rows().await;
    assert!(rows[0].gone.is_some(), "{rows:?}");
    assert_eq!(bench.stop().await.partial_lines, 1);
}

#[tokio::test(start_paused = true)]
async fn a_last_line_without_newline_is_sent_after_the_rotation() {
    let mut bench = Bench::new("app.log*", START);
    bench.append("app.log", "one\npart");
    bench.start().await;
    bench.stored_are(&["one\n"]).await;
    bench.run_for(120).await;
    assert_eq!(bench.stored().len(), 1);
    fs::rename(bench.path("app.log"), bench.path("app.log.1")).unwrap();
    bench.append("app.log", "two\n");
    bench.stored_are(&["one\n", "two\n", "part"]).await;
    bench.run_for(120).await;
    assert_eq!(bench.stored().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn lines_over_the_limit_are_cut_and_counted() {
    let mut bench = Bench::new(
        "app.log",
        &format!(
            r#"{START},"partitionKeyOption":"DETERMINISTIC","truncatedRecordTerminator":"<T>""#
        ),
    );
    let sizes = [
        RECORD_LIMIT - 33,
        RECORD_LIMIT - 32,
        RECORD_LIMIT + 5,
        4_000_000,
        20_000_000,
    ];
    for (n, size) in sizes.into_iter().enumerate() {
        bench.append("app.log", &n.to_string().repeat(size));
        bench.append("app.log", "\n");
    }
    bench.append("app.log", "last\n");
    bench.start().await;
    for _ in 0..600 {
        if bench.stored().len() >= 6 {
            break;
        }
        bench.run_for(1).await;
    }
    let stored = bench.stored();
    assert_eq!(stored.len(), 6);
    let limit = RECORD_LIMIT - 32;
    for (n, line) in stored.iter().enumerate().take(5) {
        assert_eq!(line.len(), limit, "{n}");
        assert!(line.starts_with(&n.to_string()), "{n}");
        assert!(line.ends_with(if n == 0 { "0\n" } else { "<T>" }), "{n}");
    }
    assert_eq!(stored[5], "last\n");
    assert_eq!(
        bench.stream.keys.lock()[5],
        format!("{:x}", md5::compute("last\n"))
    );
    let report = bench.stop().await;
    assert_eq!((report.records_truncated, report.bytes_behind), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_appears_later_is_waited_for() {
    let mut bench = Bench::new("app.log", "");
    fs::remove_dir(bench.root.path().join("logs")).unwrap();
    bench.start().await;
    bench.run_for(100).await;
    fs::create_dir(bench.root.path().join("logs")).unwrap();
    bench.append("app.log", "from the start\n");
    bench.stored_are(&["from the start\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_sent_again_and_what_can_never_be_stored_is_dropped_and_counted() {
    let mut bench = Bench::new("app.log", START);
    *bench.stream.manner.lock() = Manner {
        failing: 1.0,
        refused: Some("bad"),
        ..Manner::default()
    };
    bench.append("app.log", "one\nbad\ntwo\n");
    bench.start().await;
    bench.run_for(60).await;
    assert_eq!(bench.stored(), Vec::<String>::new());
    assert_eq!(bench.rows().await[0].position, 0);
    assert!(bench.report().retries > 4);
    bench.stream.manner.lock().failing = 0.0;
    bench.stored_are(&["one\n", "two\n"]).await;
    bench.run_for(2).await;
    assert_eq!(bench.rows().await[0].position, 12);
    assert_eq!(bench.stop().await.dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_in_memory_is_bounded_while_the_stream_is_away() {
    let mut bench = Bench::new("*.log", START);
    bench.memory = 2048;
    *bench.stream.manner.lock() = Manner {
        stuck: true,
        ..Manner::default()
    };
    for name in ["a.log", "b.log", "c.log"] {
        bench.append(name, "");
    }
    bench.start().await;
    bench.run_for(2).await;
    for name in ["a.log", "b.log", "c.log"] {
        for n in 0..3000 {
            bench.append(name, &format!("{name} {n} {}\n", "x".repeat(1000)));
        }
    }
    bench.run_for(60).await;
    let outstanding = *bench.stream.outstanding.lock();
    assert!(
        outstanding <= 2048 * 1024 && outstanding > 1024 * 1024,
        "{outstanding}"
    );
    let report = bench.stop().await;
    assert!(report.bytes_behind > 9_000_000);
    assert!(bench.rows().await.iter().all(|row| row.position == 0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_counted_and_holds_nothing_up() {
    let mut bench = Bench::new("*.log", START);
    // Opens, and fails to read, for every user.
    std::os::unix::fs::symlink("/proc/self/mem", bench.path("bad.log")).unwrap();
    fs::create_dir(bench.path("dir.log")).unwrap();
    bench.append("good.log", "good\n");
    bench.start().await;
    bench.stored_are(&["good\n"]).await;
    bench.run_for(5).await;
    let counted = bench.report().read_errors;
    assert!(counted > 1, "{counted}");
    fs::remove_file(bench.path("bad.log")).unwrap();
    bench.append("bad.log", "readable now\n");
    bench.stored_are(&["good\n", "readable now\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_originals_position_is_taken_over() {
    use std::os::unix::fs::MetadataExt;
    let mut bench = Bench::new("app.log*", "");
    bench.append("app.log.1", "one\ntwo\nthree\n");
    let meta = fs::metadata(bench.path("app.log.1")).unwrap();
    let file_id = format!("(dev={:x},ino={})", meta.dev(), meta.ino());
    let modified = crate::scan::millis(meta.modified().ok());
    let connection = Connection::open(bench.root.path().join("positions")).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TABLE FILE_CHECKPOINTS (flow text, path text, fileId text,
                 lastModifiedTime bigint, size bigint, offset bigint, lastUpdated datetime,
                 primary key (flow, path));
             INSERT INTO FILE_CHECKPOINTS VALUES ('{}', '{}', '{file_id}', {}, 4, 4, 'now');",
            bench.config.id(),
            bench.path("app.log").display(),
            modified - 1,
        ))
        .unwrap();
    drop(connection);
    bench.append("app.log", "four\n");
    let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
    fs::File::options()
        .append(true)
        .open(bench.path("app.log"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    bench.start().await;
    bench.stored_are(&["two\n", "three\n", "four\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn many_live_files_have_a_position_each() {
    let mut bench = Bench::new("*.log", START);
    bench.start().await;
    bench.run_for(1).await;
    for round in 0..3 {
        for n in 0..600 {
            bench.append(&format!("{n}.log"), &format!("file {n} round {round}\n"));
        }
        bench.run_for(10).await;
        if round == 1 {
            bench.kill().await;
            bench.start().await;
        }
    }
    bench.run_for(30).await;
    let stored: std::collections::BTreeSet<String> = bench.stored().into_iter().collect();
    assert_eq!((stored.len(), bench.stored().len()), (1800, 1800));
    bench.stop().await;
    assert_eq!(bench.rows().await.len(), 600);
}
