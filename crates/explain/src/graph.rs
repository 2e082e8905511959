//! Index of a world: entities as numbers in the order of their keys, and calls as rows.

use std::collections::{BTreeSet, HashMap, VecDeque};

use anomalyzer_domain::UnixMs;
use anomalyzer_world::{Age, EntityId, EntityKey, Relation, World};

/// Number of an entity: its place in the order of the keys. Ties by number are ties by name.
pub type Node = usize;

/// Call of one entity to another.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub from: Node,
    pub to: Node,
    /// Calls in the newest window, if a source counts them.
    pub count: Option<f64>,
    pub asynchronous: bool,
    pub first_seen: Option<UnixMs>,
}

/// Entities and relations by number.
pub struct Graph<'a> {
    pub keys: Vec<&'a EntityKey>,
    numbers: HashMap<&'a EntityKey, Node>,
    ids: Vec<Option<EntityId>>,
    /// Calls, ordered by caller and callee.
    calls: Vec<Call>,
    rows: Vec<usize>,
    /// Indexes of calls, ordered by callee and caller.
    back: Vec<usize>,
    back_rows: Vec<usize>,
    /// Relations other than calls, ordered.
    pub relations: Vec<(Node, Node, Relation)>,
}

impl<'a> Graph<'a> {
    /// Numbers the entities of a world and the `extra` keys that the world does not know. Edges
    /// that are gone at `now` are left out.
    pub fn new(world: &'a World, extra: impl Iterator<Item = &'a EntityKey>, now: UnixMs) -> Self {
        let unknown: BTreeSet<&EntityKey> = extra.filter(|key| world.id(key).is_none()).collect();
        let mut named: Vec<(&EntityKey, Option<EntityId>)> = world
            .entities()
            .map(|(id, entity)| (&entity.key, Some(id)))
            .collect();
        if !unknown.is_empty() {
            named.extend(unknown.into_iter().map(|key| (key, None)));
            named.sort_by_key(|(key, _)| *key);
        }
        let mut place = vec![usize::MAX; world.id_bound()];
        for (node, (_, id)) in named.iter().enumerate() {
            if let Some(id) = id {
                place[id.index()] = node;
            }
        }
        let (mut calls, mut relations) = (Vec::with_capacity(world.edge_count()), Vec::new());
        for (from, to, relation, edge) in world.edges_by_id() {
            if edge.age(now) == Age::Gone {
                continue;
            }
            let (from, to) = (place[from.index()], place[to.index()]);
            if relation == Relation::Calls {
                calls.push(Call {
                    from,
                    to,
                    count: edge
                        .calls(now)
                        .filter(|count| *count >= 0.0 && count.is_finite()),
                    asynchronous: edge.asynchronous,
                    first_seen: if edge.is_configured() {
                        None
                    } else {
                        edge.first_seen()
                    },
                });
            } else {
                relations.push((from, to, relation));
            }
        }
        let size = named.len();
        // The world orders edges by id. Rows are short, so that sorting them one by one is quick.
        let (order, rows) = by_row(size, calls.iter().map(|call: &Call| call.from));
        let mut calls: Vec<Call> = order.into_iter().map(|index| calls[index]).collect();
        for node in 0..size {
            calls[rows[node]..rows[node + 1]].sort_unstable_by_key(|call| call.to);
        }
        relations.sort_unstable();
        let (back, back_rows) = by_row(size, calls.iter().map(|call| call.to));
        Self {
            numbers: named
                .iter()
                .enumerate()
                .map(|(node, (key, _))| (*key, node))
                .collect(),
            ids: named.iter().map(|(_, id)| *id).collect(),
            keys: named.into_iter().map(|(key, _)| key).collect(),
            calls,
            rows,
            back,
            back_rows,
            relations,
        }
    }

    /// Returns the number of entities.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the number of an entity.
    pub fn node(&self, key: &EntityKey) -> Option<Node> {
        self.numbers.get(key).copied()
    }

    /// Returns the id of an entity in the world; `None` if only the symptoms name it.
    pub fn id(&self, node: Node) -> Option<EntityId> {
        self.ids[node]
    }

    /// Returns the calls of an entity, ordered by callee.
    pub fn calls_of(&self, node: Node) -> &[Call] {
        &self.calls[self.rows[node]..self.rows[node + 1]]
    }

    /// Returns the calls to an entity, ordered by caller.
    pub fn calls_to(&self, node: Node) -> impl Iterator<Item = &Call> {
        self.back[self.back_rows[node]..self.back_rows[node + 1]]
            .iter()
            .map(|index| &self.calls[*index])
    }

    /// Returns true if a source reports this call.
    pub fn has_call(&self, from: Node, to: Node) -> bool {
        self.calls_of(from)
            .binary_search_by_key(&to, |call| call.to)
            .is_ok()
    }

    /// Walks calls from some entities, breadth first. Returns the number of steps to each entity;
    /// `usize::MAX` if it is not reached. `more` adds calls that no source reports.
    pub fn depths(&self, starts: &[Node], more: &[(Node, Node)]) -> Vec<usize> {
        let mut depth = vec![usize::MAX; self.len()];
        let mut queue = VecDeque::new();
        for start in starts {
            if depth[*start] == usize::MAX {
                depth[*start] = 0;
                queue.push_back(*start);
            }
        }
        while let Some(node) = queue.pop_front() {
            let added = more
                .iter()
                .filter(|(from, _)| *from == node)
                .map(|(_, to)| *to);
            for to in self.calls_of(node).iter().map(|call| call.to).chain(added) {
                if depth[to] == usize::MAX {
                    depth[to] = depth[node] + 1;
                    queue.push_back(to);
                }
            }
        }
        depth
    }

    /// Walks calls backwards from an entity, breadth first. Returns for each entity the next entity
    /// on a shortest way to `end`, and `usize::MAX` where there is none.
    pub fn ways_to(&self, end: Node, more: &[(Node, Node)]) -> Vec<Node> {
        let mut next = vec![usize::MAX; self.len()];
        next[end] = end;
        let mut queue = VecDeque::from([end]);
        while let Some(node) = queue.pop_front() {
            let added = more
                .iter()
                .filter(|(_, to)| *to == node)
                .map(|(from, _)| *from);
            for from in self.calls_to(node).map(|call| call.from).chain(added) {
                if next[from] == usize::MAX {
                    next[from] = node;
                    queue.push_back(from);
                }
            }
        }
        next
    }
}

/// Orders the indexes of a list by row, stably. Returns the indexes and the start of each row.
pub fn by_row(
    size: usize,
    rows: impl ExactSizeIterator<Item = usize> + Clone,
) -> (Vec<usize>, Vec<usize>) {
    let starts = starts(size, rows.clone());
    let mut next = starts.clone();
    let mut order = vec![0; rows.len()];
    for (index, row) in rows.enumerate() {
        order[next[row]] = index;
        next[row] += 1;
    }
    (order, starts)
}

/// Returns the start of each row in a list that is ordered by row, and its length at the end.
pub fn starts(size: usize, rows: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut starts = vec![0; size + 1];
    for row in rows {
        starts[row + 1] += 1;
    }
    for row in 0..size {
        starts[row + 1] += starts[row];
    }
    starts
}
