//! Each file of the corpora under `fuzz/`, through what the fuzz targets do with it.

#[cfg(test)]
#[expect(
    unreachable_pub,
    reason = "public where it is part of the fuzz targets"
)]
#[path = "../../fuzz/src/requests.rs"]
mod requests;

#[cfg(test)]
mod replay {
    use crate::requests;
    use std::path::Path;

    /// Runs a target with each file of its corpus; there have to be so many at least.
    fn replay(target: &str, least: usize, run: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let files = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("no corpus at {}: {error}", directory.display()));
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        assert!(
            paths.len() >= least,
            "{} files in {}",
            paths.len(),
            directory.display()
        );
        for path in paths {
            let bytes = std::fs::read(&path).unwrap();
            if let Err(reason) = std::panic::catch_unwind(|| run(&bytes)) {
                eprintln!("{} failed", path.display());
                std::panic::resume_unwind(reason);
            }
        }
    }

    #[test]
    fn json() {
        replay("json", 40, requests::json);
    }

    #[test]
    fn cbor() {
        replay("cbor", 20, requests::cbor);
    }

    #[test]
    fn subscribe() {
        replay("subscribe", 8, requests::subscribe);
    }

    #[test]
    fn recorders() {
        replay("recorders", 8, requests::recorders);
    }

    #[test]
    fn faults() {
        replay("faults", 20, requests::faults);
    }

    #[test]
    fn signed() {
        replay("signed", 5, requests::signed);
    }
}
