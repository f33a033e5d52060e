import { isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { canMove, requireState, STATES, type State } from "../../src/engine/states.ts";
import { suite } from "../support/suite.ts";

const s = suite("states");

const MOVES: Record<State, readonly State[]> = {
  creating: ["ready", "failed"],
  ready: ["running", "stopped", "failed"],
  running: ["paused", "stopped", "failed"],
  paused: ["running", "stopped", "failed"],
  stopped: ["running", "failed"],
  failed: [],
};

s.test("every cell of the table is as the acceptance list has it", () => {
  let cells = 0;
  for (const from of STATES) {
    for (const to of STATES) {
      assert.is(canMove(from, to), MOVES[from].includes(to), `${from} > ${to}`);
      cells++;
    }
  }
  assert.is(cells, 36);
});

s.test("requireState() names the state, the verb and where it is possible", () => {
  for (const state of STATES) {
    const check = () => requireState({ kind: "container", id: "web", state }, "pause", ["running"]);
    if (state === "running") check();
    else {
      try {
        check();
        assert.unreachable();
      } catch (error) {
        assert.ok(isTapvisorError(error) && error.code === "INVALID_STATE");
        assert.is((error as Error).message, `Container not running, impossible to pause: web is ${state}`);
      }
    }
  }
});

s.run();
