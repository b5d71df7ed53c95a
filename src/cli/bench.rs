//! `visage bench`: flags to plan, what runs while it runs, table and JSON.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::complaint::Complaint;
use super::flags::BenchFlags;
