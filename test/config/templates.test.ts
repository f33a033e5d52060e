import { statSync } from "node:fs";
import { dirname } from "node:path";
import * as assert from "uvu/assert";
import { templatesConfig, templatesOfEnvironment } from "../../src/config/templates-config.ts";
import { suite } from "../support/suite.ts";

const s = suite("templates of an engine");

s.test("by default they are kept in memory, in a directory of this user and this root", () => {
  const one = templatesConfig(undefined, "/a/root");
  const other = templatesConfig(true, "/another/root");
  assert.is(one.enabled, true);
  assert.is.not(one.directory, other.directory);
  assert.is(templatesConfig(undefined, "/a/root").directory, one.directory);
  assert.ok(statSync(dirname(one.directory)).isDirectory());
});

s.test("a directory that is named is taken as it is, and switched off nothing is kept outside of the root", () => {
  assert.equal(templatesConfig({ directory: "/somewhere", keep: 0 }, "/root"), { enabled: true, directory: "/somewhere", keep: 0 });
  assert.equal(templatesConfig(false, "/root"), { enabled: false, directory: "/root/templates", keep: 4 });
});

s.test("$TAPVISOR_TEMPLATES switches them off or names the directory", () => {
  const before = process.env.TAPVISOR_TEMPLATES;
  try {
    process.env.TAPVISOR_TEMPLATES = "off";
    assert.is(templatesOfEnvironment(), false);
    process.env.TAPVISOR_TEMPLATES = "/somewhere";
    assert.equal(templatesOfEnvironment(), { directory: "/somewhere" });
    delete process.env.TAPVISOR_TEMPLATES;
    assert.is(templatesOfEnvironment(), undefined);
  } finally {
    if (before !== undefined) process.env.TAPVISOR_TEMPLATES = before;
  }
});

s.run();
