import { execFileSync } from "node:child_process";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { OciProcess } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { withUserIds } from "../../../../plugins/guest-linux/agent/container/resolve-user.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";

const s = suite("users by name in the guest");

const PASSWD = "root:x:0:0:root:/root:/bin/sh\n# a remark\n\nweb:x:1000:100:Web:/srv:/bin/sh\nbroken:x:none:1:::\n7:x:8:9:::\n";
const GROUP = "root:x:0:\nstaff:x:50:root,web\nusers:x:100:web\nlog:x:60:web\nbad:x::\n";

async function rootfsOf(passwd = PASSWD, group = GROUP) {
  const directory = await tempDirectory();
  await mkdir(join(directory.path, "etc"));
  await writeFile(join(directory.path, "etc/passwd"), passwd);
  await writeFile(join(directory.path, "etc/group"), group);
  return directory;
}

async function userIn(rootfs: string, username: string, additionalGids?: readonly number[]) {
  const user = { uid: 0, gid: 0, username, umask: 0o77, ...(additionalGids && { additionalGids }) };
  const process: OciProcess = { terminal: false, user, args: ["id"], env: [], cwd: "/", noNewPrivileges: true };
  return (await withUserIds(process, rootfs)).user;
}

s.test("a name has the user's group and those that list it; a group beside it is the only one", async () => {
  await using rootfs = await rootfsOf();
  const user = (username: string) => userIn(rootfs.path, username);
  assert.equal(await user("web"), { uid: 1000, gid: 100, additionalGids: [50, 60], umask: 0o77 });
  assert.equal(await user("web:log"), { uid: 1000, gid: 60, additionalGids: [], umask: 0o77 });
  assert.equal(await user("web:77"), { uid: 1000, gid: 77, additionalGids: [], umask: 0o77 });
  assert.equal(await userIn(rootfs.path, "web", [60, 7]), { uid: 1000, gid: 100, additionalGids: [50, 60, 7], umask: 0o77 });
});

s.test("a number is a user of that number where there is one, and itself otherwise; a name goes before a number", async () => {
  await using rootfs = await rootfsOf();
  const user = (username: string) => userIn(rootfs.path, username);
  assert.equal(await user("1000"), { uid: 1000, gid: 100, additionalGids: [50, 60], umask: 0o77 });
  assert.equal(await user("12"), { uid: 12, gid: 0, additionalGids: [], umask: 0o77 });
  assert.equal(await user("12:34"), { uid: 12, gid: 34, additionalGids: [], umask: 0o77 });
  assert.equal(await user("7"), { uid: 8, gid: 9, additionalGids: [], umask: 0o77 });
});

s.test("refuses names that are not there and entries that are broken, by their file", async () => {
  await using rootfs = await rootfsOf();
  const refusal = (username: string) =>
    userIn(rootfs.path, username).then(
      () => "taken",
      (error) => `${error.status} ${error.message}`,
    );
  assert.match(await refusal("nobody"), /INVALID_ARGUMENT .*no user "nobody" in the container's \/etc\/passwd/);
  assert.match(await refusal("broken"), /no user "broken"/);
  assert.match(await refusal("web:none"), /no group "none" in the container's \/etc\/group/);
  assert.match(await refusal("web:bad"), /no group "bad"/);
  assert.match(await refusal("4294967295"), /no user/);
});

s.test("a process with numbers is left as it is, and no file is looked at", async () => {
  const process: OciProcess = { terminal: false, user: { uid: 5, gid: 6 }, args: ["id"], env: [], cwd: "/", noNewPrivileges: true };
  assert.is(await withUserIds(process, "/no/such/rootfs"), process);
});

s.test("looks only inside of the rootfs, and is not held up by what is no file", async () => {
  await using outside = await rootfsOf("web:x:1:1:::\n");
  await using rootfs = await rootfsOf();
  const passwd = join(rootfs.path, "etc/passwd");
  await rm(passwd);
  await symlink(join(outside.path, "etc/passwd"), passwd);
  assert.match(String(await userIn(rootfs.path, "web").catch((error) => error)), /no user "web"/);
  await rm(passwd);
  await writeFile(join(rootfs.path, "real"), PASSWD);
  await symlink("/real", passwd);
  assert.is((await userIn(rootfs.path, "web")).uid, 1000);
  await rm(passwd);
  execFileSync("mkfifo", [passwd]);
  assert.match(String(await userIn(rootfs.path, "web").catch((error) => error)), /no user "web"/);
});

s.run();
