//! Builds `config/recipes/*.toml` into the binary: each file is one built-in recipe, named by its
//! file name, or what its upstream answers (`NAME.conformance.toml`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default())
        .join("config")
        .join("recipes");
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();

    let mut recipes = String::from("&[\n");
    let mut conformance = String::from("&[\n");
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (list, name) = match name.strip_suffix(".conformance") {
            Some(recipe) => (&mut conformance, recipe),
            None => (&mut recipes, name.as_str()),
        };
        _ = writeln!(list, "    ({name:?}, include_str!({:?})),", file.display().to_string());
    }
    let folder = PathBuf::from(env::var("OUT_DIR").unwrap_or_default());
    fs::write(folder.join("recipes.rs"), recipes + "]")?;
    fs::write(folder.join("conformance.rs"), conformance + "]")
}
