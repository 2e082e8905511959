//! Cycles of imports between the files of one crate.
//!
//! A cycle makes a reader jump: no file of it can be understood before the others. The remedy is a
//! file of its own for the shared items, below the files that use them.
//!
//! The scanner resolves each path to the file that declares its last name, through re-exports.
//! Files that hold only `mod` and `use` items forward names and are in no cycle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Result;

use super::imports::{PathUse, is_reexport_only, names, paths};
use super::source::{SourceFile, module_folder, production_files};
use super::tree::Tree;
use super::{CRATES, Report, Violation};

/// Imports that may be part of a cycle: the file that imports, the imported file, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// Bound for chains of re-exports, so that a chain that meets itself ends.
const MAX_FORWARDS: usize = 16;

pub fn check(tree: &Tree) -> Result<Report> {
    check_with(tree, &EXCEPTIONS)
}

fn check_with(tree: &Tree, exceptions: &[(&str, &str, &str)]) -> Result<Report> {
    let (mut violations, mut files, mut crates) = (Vec::new(), 0, 0);
    let mut unused: BTreeSet<(&str, &str)> = exceptions
        .iter()
        .map(|(from, to, _)| (*from, *to))
        .collect();
    for name in tree.folders(CRATES)? {
        let sources = tree.sources(&[&format!("{CRATES}/{name}/src")])?;
        let mut graph = Graph::of(&format!("{CRATES}/{name}/src"), sources);
        for (from, to, _) in exceptions {
            if graph.remove(from, to) {
                unused.remove(&(*from, *to));
            }
        }
        files += graph.modules.files.len();
        crates += 1;
        violations.extend(graph.cycles());
    }
    violations.extend(unused.into_iter().map(|(from, to)| {
        Violation::new(
            from,
            format!("the exception for its import of {to} is not used"),
        )
    }));
    Ok(Report {
        summary: format!("{files} files of {crates} crates"),
        violations,
        remedy: "move the shared items down into a file of their own, so that mod.rs holds only \
                 `mod` and `use`; or add an exception with its reason to \
                 xtask/src/lint/import_cycles.rs",
    })
}

/// Path of a module below the root of its crate.
type Module = Vec<String>;

struct File {
    path: String,
    uses: Vec<PathUse>,
    is_reexport_only: bool,
    /// Names in the file, with the number of their occurrences.
    names: BTreeMap<String, usize>,
}

/// The modules of a crate that have a file.
struct Modules {
    files: BTreeMap<Module, File>,
}

impl Modules {
    fn of(folder: &str, sources: Vec<SourceFile>) -> Self {
        let has_library = sources
            .iter()
            .any(|file| file.path == format!("{folder}/lib.rs"));
        let mut files = BTreeMap::new();
        for source in production_files(sources) {
            let Some(module) = module_of(folder, &source.path, has_library) else {
                continue;
            };
            let code = source.production_code();
            let mut counts = BTreeMap::new();
            for name in names(&code) {
                *counts.entry(name).or_insert(0) += 1;
            }
            let file = File {
                uses: paths(&code),
                is_reexport_only: is_reexport_only(&code),
                names: counts,
                path: source.path,
            };
            files.insert(module, file);
        }
        Self { files }
    }

    /// Resolves a path in `module`: returns the module whose file declares its last name, or `None`
    /// for names of other crates and for whole modules that only forward names.
    fn target(&self, module: &Module, path: &PathUse) -> Option<Module> {
        self.resolve(module, &path.segments, path.inline_modules, MAX_FORWARDS)
    }

    fn resolve(
        &self,
        module: &Module,
        segments: &[String],
        inline_modules: usize,
        forwards: usize,
    ) -> Option<Module> {
        let forwards = forwards.checked_sub(1)?;
        let (first, mut rest) = segments.split_first()?;
        let mut base = module.clone();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                // Inside an inline module, `super` is a module of the same file.
                let mut inline = inline_modules;
                let mut up = || match inline.checked_sub(1) {
                    Some(outer) => {
                        inline = outer;
                        Some(())
                    }
                    None => base.pop().map(|_| ()),
                };
                up()?;
                while let Some((next, after)) = rest.split_first()
                    && next == "super"
                {
                    up()?;
                    rest = after;
                }
            }
            name => {
                let mut child = module.clone();
                child.push(name.to_owned());
                if self.files.contains_key(&child) {
                    base = child;
                } else {
                    // The name may stand for an imported module: `use crate::a; a::f()`.
                    let import = self.import(module, name, segments)?;
                    let mut full = import.segments.clone();
                    full.extend_from_slice(rest);
                    return self.resolve(module, &full, import.inline_modules, forwards);
                }
            }
        }
        self.descend(base, rest, forwards)
    }

    /// Follows names from `module` down to the file that declares the last one.
    fn descend(&self, mut module: Module, names: &[String], forwards: usize) -> Option<Module> {
        for (at, name) in names.iter().enumerate() {
            let mut child = module.clone();
            child.push(name.clone());
            if self.files.contains_key(&child) {
                module = child;
                continue;
            }
            let file = self.files.get(&module)?;
            if let Some(import) = self.import(&module, name, &[]) {
                let mut full = import.segments.clone();
                full.extend_from_slice(&names[at + 1..]);
                // A name that the file imports is declared elsewhere, maybe in another crate.
                return self.resolve(&module, &full, import.inline_modules, forwards);
            }
            return (!file.is_reexport_only).then_some(module);
        }
        let file = self.files.get(&module)?;
        (!file.is_reexport_only).then_some(module)
    }

    /// Returns the `use` of `module`'s file that brings `name` into it. An import of `path` itself
    /// does not count: it would resolve to itself.
    fn import(&self, module: &Module, name: &str, path: &[String]) -> Option<&PathUse> {
        let uses = &self.files.get(module)?.uses;
        uses.iter().find(|path_use| {
            path_use.imported_as.as_deref() == Some(name)
                && path_use.segments.first().is_some_and(|first| first != name)
                && path_use.segments != path
        })
    }
}

/// Returns the module that the file at `path` holds; `None` for other programs of the package.
fn module_of(folder: &str, path: &str, has_library: bool) -> Option<Module> {
    let below = path.strip_prefix(folder)?.strip_prefix('/')?;
    if below.starts_with("bin/") || (has_library && below == "main.rs") {
        return None;
    }
    let holder = module_folder(path);
    let below = holder.strip_prefix(folder)?;
    Some(
        below
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

/// The imports between the files of a crate.
struct Graph {
    modules: Modules,
    /// For each module the modules it imports from, with the line of the first import.
    edges: BTreeMap<Module, BTreeMap<Module, usize>>,
}

impl Graph {
    fn of(folder: &str, sources: Vec<SourceFile>) -> Self {
        let modules = Modules::of(folder, sources);
        let mut edges: BTreeMap<Module, BTreeMap<Module, usize>> = BTreeMap::new();
        for (module, file) in &modules.files {
            let imports = edges.entry(module.clone()).or_default();
            if file.is_reexport_only {
                continue;
            }
            for path in &file.uses {
                if is_only_forwarded(file, path) {
                    continue;
                }
                if let Some(target) = modules.target(module, path)
                    && target != *module
                {
                    imports.entry(target).or_insert(path.line);
                }
            }
        }
        Self { modules, edges }
    }

    /// Removes an import; returns true if there was one.
    fn remove(&mut self, from: &str, to: &str) -> bool {
        let module = |path: &str| {
            let mut files = self.modules.files.iter();
            files
                .find(|(_, file)| file.path == path)
                .map(|(module, _)| module.clone())
        };
        let (Some(from), Some(to)) = (module(from), module(to)) else {
            return false;
        };
        self.edges
            .get_mut(&from)
            .is_some_and(|imports| imports.remove(&to).is_some())
    }

    /// Returns a violation for each group of modules that reach each other.
    fn cycles(&self) -> Vec<Violation> {
        let reachable: BTreeMap<&Module, BTreeSet<&Module>> = self
            .edges
            .keys()
            .map(|module| (module, self.reachable(module)))
            .collect();
        let mut reported = BTreeSet::new();
        let mut violations = Vec::new();
        for (module, reached) in &reachable {
            if reported.contains(module) || !reached.contains(module) {
                continue;
            }
            let group: BTreeSet<&Module> = reached
                .iter()
                .copied()
                .filter(|other| reachable[*other].contains(module))
                .collect();
            violations.push(self.violation(&group));
            reported.extend(group);
        }
        violations
    }

    /// Returns the modules that `module` imports from, directly or through others.
    fn reachable(&self, module: &Module) -> BTreeSet<&Module> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&Module> = self.edges[module].keys().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(self.edges[module].keys());
            }
        }
        reached
    }

    fn violation(&self, group: &BTreeSet<&Module>) -> Violation {
        let cycles = group.iter().filter_map(|module| self.cycle(module));
        let shortest = cycles.min_by_key(Vec::len).unwrap_or_default();
        let steps: Vec<String> = shortest
            .iter()
            .map(|(module, line)| format!("{}:{}", self.modules.files[*module].path, line + 1))
            .collect();
        let place = steps.first().cloned().unwrap_or_default();
        Violation::new(
            place.clone(),
            format!(
                "{} files import each other; the shortest cycle is {} → {place}; all: {}",
                group.len(),
                steps.join(" → "),
                group
                    .iter()
                    .map(|module| self.modules.files[*module].path.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )
    }

    /// Returns the shortest way from `start` back to it: modules, each with the line of its import
    /// of the next.
    fn cycle<'a>(&'a self, start: &'a Module) -> Option<Vec<(&'a Module, usize)>> {
        let mut came_from: BTreeMap<&Module, (&Module, usize)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(module) = queue.pop_front() {
            for (next, line) in &self.edges[module] {
                if !came_from.contains_key(next) {
                    came_from.insert(next, (module, *line));
                    queue.push_back(next);
                }
            }
        }
        let mut way = Vec::new();
        let mut at = start;
        loop {
            let (before, line) = came_from.get(at)?;
            way.push((*before, *line));
            at = before;
            if at == start {
                break;
            }
        }
        way.reverse();
        Some(way)
    }
}

/// Returns true if `file` only passes on the name of a `pub use`.
fn is_only_forwarded(file: &File, path: &PathUse) -> bool {
    path.is_reexport
        && path.imported_as.as_ref().is_some_and(|name| {
            let in_path = path.segments.iter().filter(|part| *part == name).count();
            file.names.get(name).copied().unwrap_or(0) <= in_path.max(1)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    #[track_caller]
    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        let fixture = Fixture::new(&[]);
        for (path, text) in files {
            fixture.write(&format!("crates/a/src/{path}"), text);
        }
        let report = check(&fixture.tree()).unwrap();
        let violations = report.violations.into_iter();
        violations
            .map(|violation| violation.problem.replace("crates/a/src/", ""))
            .collect()
    }

    #[test]
    fn files_that_import_each_other_are_a_cycle() {
        let found = cycles(&[
            ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\n"),
            ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
            (
                "b.rs",
                "use std::fmt;\nuse super::c::C;\npub struct B(C);\n",
            ),
            ("c.rs", "pub struct C(Box<crate::a::A>);\n"),
        ]);
        assert_eq!(
            found,
            [
                "3 files import each other; the shortest cycle is a.rs:1 → b.rs:2 → c.rs:1 → \
              a.rs:1; all: a.rs, b.rs, c.rs"
            ]
        );
    }

    #[test]
    fn a_name_is_followed_through_re_exports_to_its_file() {
        let found = cycles(&[
            ("lib.rs", "mod a;\npub mod b;\npub use a::A;\n"),
            ("a.rs", "use crate::b;\npub struct A(b::C);\n"),
            ("b/mod.rs", "mod c;\npub use c::C;\n"),
            ("b/c.rs", "use crate::A;\npub struct C(Box<A>);\n"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("all: a.rs, b/c.rs"), "{found:?}");
    }

    #[test]
    fn a_mod_file_with_items_is_in_a_cycle_with_a_child_that_uses_them() {
        let found = cycles(&[
            ("lib.rs", "pub mod b;\n"),
            ("b/mod.rs", "mod c;\npub use c::C;\npub struct B(C);\n"),
            ("b/c.rs", "use super::B;\npub struct C(Box<B>);\n"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        // Forwarding the name of a child needs no understanding of it.
        let found = cycles(&[
            ("lib.rs", "pub mod b;\n"),
            ("b/mod.rs", "mod c;\npub use c::C;\npub struct B;\n"),
            ("b/c.rs", "use super::B;\npub struct C(B);\n"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_tree_of_imports_passes_and_tests_may_import_anything() {
        let found = cycles(&[
            ("lib.rs", "mod a;\nmod b;\nmod shared;\n"),
            (
                "a.rs",
                "use crate::b::B;\nuse crate::shared::S;\npub struct A(B, S);\n",
            ),
            (
                "b.rs",
                "use crate::shared::S;\npub struct B(S);\n#[cfg(test)]\nmod tests {\n    use \
                 crate::a::A;\n}\n",
            ),
            (
                "shared.rs",
                "pub struct S;\nmod inner {\n    use super::S;\n    pub struct T(S);\n}\n",
            ),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn an_exception_removes_its_import_and_must_be_used() {
        let fixture = Fixture::new(&[
            ("crates/a/src/lib.rs", "mod a;\nmod b;\n"),
            ("crates/a/src/a.rs", "use crate::b::B;\npub struct A(B);\n"),
            ("crates/a/src/b.rs", "use crate::a::A;\npub struct B(A);\n"),
        ]);
        let exception = ("crates/a/src/a.rs", "crates/a/src/b.rs", "for the test");
        let report = check_with(&fixture.tree(), &[exception]).unwrap();
        assert!(report.violations.is_empty(), "{report:?}");
        let stale = ("crates/a/src/a.rs", "crates/a/src/none.rs", "for the test");
        let report = check_with(&fixture.tree(), &[exception, stale]).unwrap();
        assert_eq!(report.violations.len(), 1, "{report:?}");
    }
}
