//! Builds components that are small and costly to compile.

use wasm_encoder::{
    BlockType, CodeSection, Component, Function, FunctionSection, Module, ModuleSection,
    TypeSection, ValType,
};

/// Returns a module of these functions as an upload.
fn wrapped_code(types: &TypeSection, functions: &FunctionSection, code: &CodeSection) -> Vec<u8> {
    wrapped(
        Module::new()
            .section(types)
            .section(functions)
            .section(code),
    )
}

fn wrapped(module: &Module) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(module));
    component.finish()
}

/// Builds one function in which each loop may change each local. The compiler has to keep all of
/// these values apart.
pub fn giant_function(loops: u32, locals: u32) -> Vec<u8> {
    functions(1, loops, locals)
}

/// Builds `count` functions like the one of [`giant_function`].
pub fn functions(count: u32, loops: u32, locals: u32) -> Vec<u8> {
    let (mut types, mut functions, mut code) = (
        TypeSection::new(),
        FunctionSection::new(),
        CodeSection::new(),
    );
    types.ty().function([], []);
    for _ in 0..count {
        functions.function(0);
        let mut body = Function::new([(locals, ValType::I32)]);
        let mut write = body.instructions();
        for _ in 0..loops {
            write.loop_(BlockType::Empty);
        }
        for local in 0..locals {
            write
                .local_get((local + 1) % locals)
                .local_get(local)
                .i32_add()
                .local_set(local);
        }
        for _ in 0..loops {
            write.local_get(0).br_if(0).end();
        }
        write.end();
        code.function(&body);
    }
    wrapped_code(&types, &functions, &code)
}

/// Builds `count` function types that all differ.
pub fn many_types(count: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    for number in 0..count {
        // Each bit of `number` selects the type of one parameter.
        let of = |bit: u32| {
            if number >> bit & 1 == 0 {
                ValType::I32
            } else {
                ValType::I64
            }
        };
        types.ty().function((0..20).map(of), []);
    }
    wrapped(Module::new().section(&types))
}

/// Builds a function with nested blocks.
pub fn nested_blocks(depth: u32) -> Vec<u8> {
    let (mut types, mut functions, mut code) = (
        TypeSection::new(),
        FunctionSection::new(),
        CodeSection::new(),
    );
    types.ty().function([], []);
    functions.function(0);
    let mut body = Function::new([]);
    let mut write = body.instructions();
    for _ in 0..depth {
        write.block(BlockType::Empty);
    }
    for _ in 0..=depth {
        write.end();
    }
    code.function(&body);
    wrapped_code(&types, &functions, &code)
}

/// Builds nested components.
pub fn nested_components(depth: u32) -> Vec<u8> {
    let mut bytes = Component::new().finish();
    for _ in 0..depth {
        let mut outer = Component::new();
        // Section 4 of a component is a component.
        outer.section(&wasm_encoder::RawSection {
            id: 4,
            data: &bytes,
        });
        bytes = outer.finish();
    }
    bytes
}

/// Builds a chain of records, each with two fields of the previous record type. Each record doubles
/// the size of a value.
pub fn doubling_types(times: u32) -> Vec<u8> {
    use wasm_encoder::{ComponentTypeSection, ComponentValType, PrimitiveValType};
    let mut component = Component::new();
    let mut types = ComponentTypeSection::new();
    for time in 0..times {
        let of = match time {
            0 => ComponentValType::Primitive(PrimitiveValType::U64),
            _ => ComponentValType::Type(time - 1),
        };
        types.defined_type().record([("a", of), ("b", of)]);
    }
    component.section(&types);
    component.finish()
}
