use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::failure::plain;

use super::plan::Plan;

/// Reads a folder: one key a file. Whatever is there and cannot be a key is a problem, so that
/// nothing is left out in silence.
pub(super) fn read(folder: &Path, plan: &mut Plan) {
    read_below(folder, Path::new(""), plan);
}

fn read_below(folder: &Path, below: &Path, plan: &mut Plan) {
    let here = folder.join(below);
    let entries = fs::read_dir(&here).and_then(|entries| {
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        names.collect::<io::Result<Vec<_>>>()
    });
    let mut names = match entries {
        Ok(names) => names,
        Err(error) => {
            let place = if below.as_os_str().is_empty() { folder } else { below };
            return plan.problem(
                place.display().to_string(),
                format!("cannot be read: {}", plain(&error)),
            );
        }
    };
    names.sort();
    for name in names {
        let path = below.join(name);
        match read_one(folder, &path) {
            Ok(Found::Folder) => read_below(folder, &path, plan),
            Ok(Found::Value { key, value }) => {
                plan.add(path.display().to_string(), &key, value, None);
            }
            Ok(Found::NoText) => {
                plan.no_key(path.display().to_string(), "its name is not UTF-8");
            }
            Err(reason) => plan.problem(path.display().to_string(), reason),
        }
    }
}

enum Found {
    Folder,
    Value { key: String, value: Bytes },
    NoText,
}

fn read_one(folder: &Path, path: &Path) -> Result<Found, String> {
    let here = folder.join(path);
    let unreadable = |error: io::Error| format!("cannot be read: {}", plain(&error));
    let kind = fs::metadata(&here).map_err(unreadable)?;
    if kind.is_dir() {
        // A loop of links would never end.
        return match here.is_symlink() {
            true => Err("is a link to a folder, which is not followed".to_owned()),
            false => Ok(Found::Folder),
        };
    }
    if !kind.is_file() {
        return Err("is no regular file".to_owned());
    }
    let Some(key) = path.to_str().map(str::to_owned) else { return Ok(Found::NoText) };
    let value = fs::read(&here).map_err(unreadable)?.into();
    Ok(Found::Value { key, value })
}
