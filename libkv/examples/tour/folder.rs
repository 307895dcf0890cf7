use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use libkv::Key;

use crate::Failure;
use crate::show::count;

/// Keeps the tour short, and the store within memory, whatever folder it is given.
const MAX_FILES: usize = 50_000;
const MAX_BYTES: usize = 512 << 20;

/// What a folder holds.
#[derive(Default)]
pub(crate) struct Folder {
    /// The files, in the order of their keys' segments.
    pub(crate) files: Vec<(Key, Vec<u8>)>,
    pub(crate) bytes: usize,
    /// What was left out, each with the reason.
    pub(crate) left_out: Vec<(PathBuf, String)>,
    /// Whether there was more than a tour takes.
    pub(crate) cut_short: bool,
}

/// Reads all files below `root`, following links but not in circles. What cannot be a key with a
/// value of at most `max_value_bytes` is left out.
pub(crate) fn read(root: &Path, max_value_bytes: usize) -> Result<Folder, Failure> {
    let mut folder = Folder::default();
    let top = root.canonicalize()?;
    folder.read_below(&top, &Key::root(), &mut vec![top.clone()], max_value_bytes)?;
    Ok(folder)
}

impl Folder {
    /// `above` is the way down to `dir`, links resolved.
    fn read_below(
        &mut self,
        dir: &Path,
        dir_key: &Key,
        above: &mut Vec<PathBuf>,
        max_value_bytes: usize,
    ) -> io::Result<()> {
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if self.is_full() {
                self.cut_short = true;
                return Ok(());
            }
            let path = entry.path();
            if let Err(reason) = self.read_entry(&path, dir_key, above, max_value_bytes) {
                let shown = path.strip_prefix(&above[0]).unwrap_or(&path);
                self.left_out.push((shown.to_owned(), reason));
            }
        }
        Ok(())
    }

    /// Reads a file, or a folder with all that is in it; or says why not.
    fn read_entry(
        &mut self,
        path: &Path,
        dir_key: &Key,
        above: &mut Vec<PathBuf>,
        max_value_bytes: usize,
    ) -> Result<(), String> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("not UTF-8")?;
        let key = dir_key.join(name).map_err(|error| error.to_string())?;
        let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
        if metadata.is_dir() {
            let real = path.canonicalize().map_err(|error| error.to_string())?;
            if above.contains(&real) {
                return Err("a link back to a folder it is in".to_owned());
            }
            above.push(real);
            let read = self.read_below(path, &key, above, max_value_bytes);
            above.pop();
            return read.map_err(|error| error.to_string());
        }
        if !metadata.is_file() {
            return Err("neither a file nor a folder".to_owned());
        }
        // An empty file is not opened: those of /proc look empty, and some of them never end.
        let value =
            if metadata.len() == 0 { Vec::new() } else { read_file(path, max_value_bytes)? };
        self.bytes += value.len();
        self.files.push((key, value));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.files.len() >= MAX_FILES || self.bytes >= MAX_BYTES || self.left_out.len() >= MAX_FILES
    }
}

fn read_file(path: &Path, max_bytes: usize) -> Result<Vec<u8>, String> {
    let mut value = Vec::new();
    // One byte more than allowed tells that there are more, however long the file is.
    let limit = max_bytes as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut value));
    read.map_err(|error| error.to_string())?;
    if value.len() > max_bytes {
        return Err(format!(
            "more than {}, the store's limit for a value",
            count(max_bytes, "byte")
        ));
    }
    Ok(value)
}
