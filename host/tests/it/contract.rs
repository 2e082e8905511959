//! Tests that the contract with plugins stays compatible: they compare `wit/` with the copy that
//! was frozen at version 0.1.0. A necessary change becomes a new version of the package, which is
//! served beside this version.

use std::collections::BTreeMap;

use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldItem};

const FROZEN: &str = include_str!("../data/contract/0.1.0.wit");

/// Parts of the contract that a plugin can rely on, by name: the package, the imports and exports
/// of its worlds, and the types and functions of its interfaces. Comments and the order of
/// definitions are not part of the shape.
type Shape = BTreeMap<String, String>;

fn shape_of(text: &str) -> Shape {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("contract.wit", text).unwrap();
    shape(&resolve, package)
}

fn shape(resolve: &Resolve, package: wit_parser::PackageId) -> Shape {
    let package = &resolve.packages[package];
    let mut shape = Shape::from([("package".to_owned(), package.name.to_string())]);
    for (name, id) in &package.interfaces {
        let interface = &resolve.interfaces[*id];
        shape.insert(format!("interface {name}"), "an interface".to_owned());
        for (item, id) in &interface.types {
            shape.insert(
                format!("interface {name}: {item}"),
                definition(resolve, *id),
            );
        }
        for (item, function) in &interface.functions {
            shape.insert(
                format!("interface {name}: {item}"),
                signature(resolve, function),
            );
        }
    }
    for (name, id) in &package.worlds {
        let world = &resolve.worlds[*id];
        shape.insert(format!("world {name}"), "a world".to_owned());
        for (direction, items) in [("import", &world.imports), ("export", &world.exports)] {
            for (key, item) in items {
                let what = match item {
                    WorldItem::Interface { .. } => "an interface".to_owned(),
                    WorldItem::Function(function) => signature(resolve, function),
                    WorldItem::Type { id, .. } => definition(resolve, *id),
                };
                shape.insert(
                    format!("world {name}: {direction} {}", resolve.name_world_key(key)),
                    what,
                );
            }
        }
    }
    shape
}

/// Returns the definition of a named type as text.
fn definition(resolve: &Resolve, id: TypeId) -> String {
    let field = |name: &str, ty: &Type| format!("{name}: {}", reference(resolve, ty));
    let list = |items: Vec<String>| items.join(", ");
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            format!(
                "record {{ {} }}",
                list(
                    record
                        .fields
                        .iter()
                        .map(|f| field(&f.name, &f.ty))
                        .collect()
                )
            )
        }
        TypeDefKind::Variant(variant) => {
            let case = |case: &wit_parser::Case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, reference(resolve, ty)),
                None => case.name.clone(),
            };
            format!(
                "variant {{ {} }}",
                list(variant.cases.iter().map(case).collect())
            )
        }
        TypeDefKind::Enum(cases) => {
            format!(
                "enum {{ {} }}",
                list(cases.cases.iter().map(|case| case.name.clone()).collect())
            )
        }
        TypeDefKind::Flags(flags) => {
            format!(
                "flags {{ {} }}",
                list(flags.flags.iter().map(|flag| flag.name.clone()).collect())
            )
        }
        TypeDefKind::Resource => "resource".to_owned(),
        TypeDefKind::Type(ty) => format!("= {}", reference(resolve, ty)),
        _ => format!("= {}", anonymous(resolve, id)),
    }
}

/// Returns a reference to a type: its interface and name, or its structure if it has no name.
fn reference(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else {
        return format!("{ty:?}").to_lowercase();
    };
    let definition = &resolve.types[*id];
    let Some(name) = &definition.name else {
        return anonymous(resolve, *id);
    };
    match definition.owner {
        TypeOwner::Interface(interface) => {
            format!(
                "{}.{name}",
                resolve.interfaces[interface]
                    .name
                    .as_deref()
                    .unwrap_or_default()
            )
        }
        TypeOwner::World(_) | TypeOwner::None => name.clone(),
    }
}

fn anonymous(resolve: &Resolve, id: TypeId) -> String {
    let of = |ty: &Type| reference(resolve, ty);
    let or_nothing = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), of);
    match &resolve.types[id].kind {
        TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
        TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
        TypeDefKind::Result(result) => format!(
            "result<{}, {}>",
            or_nothing(&result.ok),
            or_nothing(&result.err)
        ),
        TypeDefKind::Tuple(tuple) => format!(
            "tuple<{}>",
            tuple.types.iter().map(of).collect::<Vec<_>>().join(", ")
        ),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", of(&Type::Id(*id))),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", of(&Type::Id(*id))),
        TypeDefKind::Type(ty) => of(ty),
        other => panic!(
            "the contract uses a {}, which this test can't compare: teach it",
            other.as_str()
        ),
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<String> = function
        .params
        .iter()
        .map(|param| format!("{}: {}", param.name, reference(resolve, &param.ty)))
        .collect();
    let result = function
        .result
        .as_ref()
        .map(|ty| format!(" -> {}", reference(resolve, ty)))
        .unwrap_or_default();
    let kind = if function.kind.is_async() {
        "async func"
    } else {
        "func"
    };
    format!("{kind}({}){result}", parameters.join(", "))
}

/// Lists the changes that would break a plugin built with the frozen contract. New interfaces and
/// worlds are not listed.
fn broken(frozen: &Shape, live: &Shape) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, was) in frozen {
        match live.get(name) {
            Some(is) if is == was => {}
            Some(is) => broken.push(format!("{name} was `{was}` and is `{is}`")),
            None => broken.push(format!("{name} is gone; it was `{was}`")),
        }
    }
    for (name, is) in live.iter().filter(|(name, _)| !frozen.contains_key(*name)) {
        if let Some((whole, _)) = name.split_once(": ")
            && frozen.contains_key(whole)
        {
            broken.push(format!("{name} is new: `{is}`"));
        }
    }
    broken
}

#[test]
fn the_contract_is_the_one_that_was_frozen() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))
        .unwrap();
    let broken = broken(&shape_of(FROZEN), &shape(&resolve, package));
    assert!(
        broken.is_empty(),
        "plugins that were built with the contract 0.1.0 would not run any more; make a new version of the package \
         instead:\n  {}",
        broken.join("\n  ")
    );
}

#[test]
fn every_change_that_breaks_a_plugin_is_named() {
    let frozen = shape_of(FROZEN);
    for (from, to, told) in [
        (
            "@0.1.0;",
            "@0.2.0;",
            "package was `anomalyzer:plugin@0.1.0` and is `anomalyzer:plugin@0.2.0`",
        ),
        (
            "history-ms: u64,",
            "history-ms: u32,",
            "interface detector: description was `record { about: ",
        ),
        (
            "enum phase { onset, ongoing, clear }",
            "enum phase { onset, clear, ongoing }",
            "interface detector: phase was",
        ),
        (
            "    shape,\n",
            "    shape,\n    rhythm,\n",
            "interface detector: direction was",
        ),
        (
            "    roll-back(target),\n",
            "",
            "interface action: operation was",
        ),
        (
            "    invalid(string),",
            "    invalid(json),",
            "interface types: error was",
        ),
        (
            "type series-id = u32;",
            "type series-id = u64;",
            "interface detector: series-id was `= u32` and is `= u64`",
        ),
        (
            "from-version: string,",
            "from-version: option<string>,",
            "interface state: restore was `func(",
        ),
        (
            "  describe: func() -> description;\n\n  /// A pure",
            "  /// A pure",
            "interface action: describe is gone; it was `func() -> action.description`",
        ),
        (
            "want-scores: bool)",
            "want-scores: bool, more: bool)",
            "interface detector: [method]monitor.observe was",
        ),
        (
            "  record scale-to {",
            "  type extra = u8;\n  record scale-to {",
            "interface action: extra is new: `= u8`",
        ),
        (
            "  export state;\n",
            "",
            "world stateful-detector-plugin: export anomalyzer:plugin/state@0.1.0 is gone",
        ),
        (
            "world action-plugin {\n  import log;",
            "interface clock { now: func() -> u64; }\nworld action-plugin {\n  import log;\n  import clock;",
            "world action-plugin: import anomalyzer:plugin/clock@0.1.0 is new",
        ),
    ] {
        let changed = FROZEN.replacen(from, to, 1);
        assert_ne!(changed, FROZEN, "`{from}` is in the contract");
        let broken = broken(&frozen, &shape_of(&changed));
        assert!(
            broken.iter().any(|broken| broken.starts_with(told)),
            "`{from}` as `{to}`: {broken:#?}"
        );
    }
}

#[test]
fn comments_order_and_what_is_wholly_new_break_nothing() {
    let frozen = shape_of(FROZEN);
    let commented: String = FROZEN
        .lines()
        .filter(|line| !line.trim_start().starts_with("///"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert!(broken(&frozen, &shape_of(&commented)).is_empty());
    let (log, rest) = (
        "  enum level { debug, info, warn, error }\n",
        "  log: func(level: level, message: string);\n",
    );
    let turned = FROZEN.replacen(&format!("{log}{rest}"), &format!("{rest}{log}"), 1);
    assert_ne!(turned, FROZEN);
    assert!(broken(&frozen, &shape_of(&turned)).is_empty());
    let grown = format!(
        "{FROZEN}\ninterface more {{ f: func(); }}\nworld more-plugin {{ export more; }}\n"
    );
    assert!(broken(&frozen, &shape_of(&grown)).is_empty());
}
