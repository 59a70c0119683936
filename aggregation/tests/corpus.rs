//! Each file of the corpus under `fuzz/`, through what the fuzz target does with it.

#[cfg(test)]
#[expect(unreachable_pub, reason = "public where it is part of the fuzz target")]
#[path = "../../fuzz/src/aggregates.rs"]
mod aggregates;

#[cfg(test)]
#[test]
fn each_file_is_read() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/aggregation");
    let files = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("no corpus at {directory}: {error}"));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 40, "{} files in {directory}", paths.len());
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        if let Err(reason) = std::panic::catch_unwind(|| aggregates::read(&bytes)) {
            eprintln!("{} failed", path.display());
            std::panic::resume_unwind(reason);
        }
    }
}
