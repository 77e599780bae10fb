// Prelude: as team_workgroup.wgsl, but a team is a subgroup, of whatever size: it needs neither memory nor barriers
// for its row. A workgroup's subgroups share out its ROWS rows in up to TURNS = ROWS turns.
struct Team {
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) id: u32,
  @builtin(num_subgroups) teams: u32,
  @builtin(subgroup_invocation_id) member: u32,
  @builtin(subgroup_size) size: u32,
}

// Subgroups have one thread at least.
var<workgroup> group_pairs: array<vec2f, GROUP>;

// Which of the workgroup's rows the team has in this turn; ROWS or more: none.
fn team_row(team: Team, turn: u32) -> u32 { return turn * team.teams + team.id; }
fn team_member(team: Team) -> u32 { return team.member; }
fn team_size(team: Team) -> u32 { return team.size; }

fn team_sum(team: Team, mine: f32) -> f32 { return subgroupAdd(mine); }
fn team_sum2(team: Team, mine: vec2f) -> vec2f { return subgroupAdd(mine); }
fn team_max(team: Team, mine: f32) -> f32 { return subgroupMax(mine); }

// The sum of `mine` over the whole workgroup, to all of it.
fn group_sum2(team: Team, mine: vec2f) -> vec2f {
  let own = subgroupAdd(mine);
  if (team.member == 0u) { group_pairs[team.id] = own; }
  workgroupBarrier();
  var sum = vec2f();
  for (var i = 0u; i < team.teams; i++) { sum += group_pairs[i]; }
  return sum;
}
