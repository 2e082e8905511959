//! Examines foreign bytes in a child process: encodes, compiles, links and describes them.
//!
//! Compilation is the step at which a small file can do the most harm: 126 KB can take 75 s and
//! 2.5 GB. The child therefore has limits on its processor time, its memory and its stack, and is
//! killed when nobody waits for it any more. Its code reaches this process only through the
//! runtime's own cache, and only after someone decided to run it.

mod artifact_index;
mod child;
mod compiler;
mod parent;
mod queue;

pub use child::{CompileArgs, compile_and_exit};
pub(super) use compiler::{Compiled, Compiler, Foreign, Turn};
pub use parent::this_program;
