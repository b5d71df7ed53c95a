//! Rendered heads: a mesh textured from key poses.
