//! The recipes that ship are valid, and read back as themselves once they are resolved.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use strata_spec::Recipe;

#[test]
fn every_recipe_that_ships_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let recipe = Recipe::parse(&text, &name, &[]).unwrap_or_else(|error| panic!("{error}"));
        let again = Recipe::parse(&recipe.to_toml(), "resolved", &[]);
        assert_eq!(again.as_ref(), Ok(&recipe), "{name}");
        assert_eq!(
            path.file_stem().unwrap().to_str(),
            Some(recipe.name.as_str())
        );
        count += 1;
    }
    assert!(count > 5, "only {count} recipes");
}
