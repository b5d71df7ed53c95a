//! Drawn characters: layers, morph shapes and stencils.
