//! From packets of voice to one unbroken line of samples.
