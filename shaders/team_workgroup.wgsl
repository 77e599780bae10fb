// Prelude: a row is reduced by a team of SHARE threads, side by side in a workgroup of GROUP, through workgroup memory; a
// workgroup has ROWS teams, one for each of its rows. Each reduction is done once at most by an entry point.
struct Team { @builtin(local_invocation_index) lane: u32 }

var<workgroup> team_sums: array<f32, GROUP>;
var<workgroup> team_pairs: array<vec2f, GROUP>;
var<workgroup> team_tops: array<f32, GROUP>;
var<workgroup> group_pairs: array<vec2f, GROUP>;

// Which of the workgroup's rows the team has.
fn team_row(team: Team, turn: u32) -> u32 { return team.lane / SHARE; }
fn team_member(team: Team) -> u32 { return team.lane % SHARE; }
fn team_size(team: Team) -> u32 { return SHARE; }

// The sum of `mine` over the team, to all of it.
fn team_sum(team: Team, mine: f32) -> f32 {
  if (SHARE == 1u) { return mine; }
  team_sums[team.lane] = mine;
  workgroupBarrier();
  let first = team.lane - team.lane % SHARE;
  var sum = 0.0;
  for (var i = 0u; i < SHARE; i++) { sum += team_sums[first + i]; }
  return sum;
}

fn team_sum2(team: Team, mine: vec2f) -> vec2f {
  if (SHARE == 1u) { return mine; }
  team_pairs[team.lane] = mine;
  workgroupBarrier();
  let first = team.lane - team.lane % SHARE;
  var sum = vec2f();
  for (var i = 0u; i < SHARE; i++) { sum += team_pairs[first + i]; }
  return sum;
}

// The largest of `mine` over the team, to all of it.
fn team_max(team: Team, mine: f32) -> f32 {
  if (SHARE == 1u) { return mine; }
  team_tops[team.lane] = mine;
  workgroupBarrier();
  let first = team.lane - team.lane % SHARE;
  var top = mine;
  for (var i = 0u; i < SHARE; i++) { top = max(top, team_tops[first + i]); }
  return top;
}

// The sum of `mine` over the whole workgroup, to its first thread; GROUP is a power of two.
fn group_sum2(team: Team, mine: vec2f) -> vec2f {
  group_pairs[team.lane] = mine;
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (team.lane < half) { group_pairs[team.lane] += group_pairs[team.lane + half]; }
  }
  return group_pairs[team.lane];
}
