//! The pictures of `docs/batching.md`: drawn from what the policies decide, and held against what is committed.
//!
//! `DRAW=1 cargo test --test pictures` draws them anew.

#![allow(clippy::cast_precision_loss, reason = "a few pixels")]

use std::{env, fs, path::Path};

use self::scene::scenes;

mod drawing;
mod scene;

#[test]
fn the_pictures_of_the_guide_show_what_the_policies_decide_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img");
    for scene in scenes() {
        let (path, drawn) = (folder.join(scene.file), drawing::draw(&scene));
        if env::var_os("DRAW").is_some() {
            fs::write(&path, &drawn).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == drawn, "{} is not what is drawn now: `DRAW=1 cargo test --test pictures`", path.display());
    }
}

#[test]
fn the_guide_shows_every_picture() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/batching.md")).unwrap();
    for scene in scenes() {
        assert!(guide.contains(&format!("](img/{})", scene.file)), "{} is not shown", scene.file);
    }
}
