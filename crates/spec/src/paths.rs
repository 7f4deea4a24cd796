//! Where a layer stands in a level, as the names of its weights say it: `layers.0.residual.shortcut.1` has the tensor
//! `layers.0.residual.shortcut.1.weight`.

/// Where a level's layers stand.
pub const BODY: &str = "layers";
/// Where those of its head stand.
pub const HEAD: &str = "head";

/// The path of layer `position` of those at `place`.
pub fn path_of(place: &str, position: usize) -> String {
    format!("{place}.{position}")
}

/// The places of the layers in the residual layer at `path`: what is learned beside the shortcut, and the shortcut.
pub fn residual_places(path: &str) -> [String; 2] {
    [
        format!("{path}.residual.layers"),
        format!("{path}.residual.shortcut"),
    ]
}

/// The place of the layers of one of the branches at `path`.
pub fn branch_place(path: &str, branch: usize) -> String {
    format!("{path}.branches.{branch}")
}
