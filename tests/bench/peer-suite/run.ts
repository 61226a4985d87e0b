#!/usr/bin/env bun
/**
 * Runs the test suite of the peer's server against this one: `bun tests/bench/peer-suite/run.ts [FILE…]`, where FILE is a name such as
 * `test_completion`. It fetches the suite's source from the npm package `node-llama-cpp`, and pytest with what the suite imports from
 * PyPI, into a scratch folder (PEER_SUITE_HOME, default `rocmforge-peer-suite` in the folder for temporary files). See README.md.
 *
 * Environment: PEER_SUITE_DATA, a folder with `stories260K.bin` and `tok512.bin`; PORT, the first port that the suite uses.
 */

import { copyFile, mkdir } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { $ } from "bun"
import { modelsFolder } from "../../../src/store/home.ts"
import { writeStandIn } from "./models.ts"

/** What the suite imports, and what its runner needs. */
const PACKAGES =
  "pytest pytest-xdist pytest-timeout filelock numpy openai prometheus-client requests wget aiohttp pillow"
/** Seconds after which a test counts as failed. */
const TIMEOUT_S = 120
/** Files that the suite looks for before it downloads them. */
const DOWNLOADS = ["stories15M-q4_0.gguf"]

const home = process.env.PEER_SUITE_HOME ?? join(tmpdir(), "rocmforge-peer-suite")
const source = join(home, "source")
const tests = join(source, "tools", "server", "tests")
const python = join(home, "venv", "bin", "python")
await mkdir(home, { recursive: true })
if (!(await Bun.file(join(tests, "conftest.py")).exists())) {
  await $`npm pack node-llama-cpp --silent`.cwd(home)
  await $`tar xzf ${[...new Bun.Glob("node-llama-cpp-*.tgz").scanSync(home)]}`.cwd(home)
  await $`git clone -q package/llama/gitRelease.bundle source`.cwd(home)
}
if (!(await Bun.file(python).exists())) {
  await $`python3 -m venv venv`.cwd(home)
  await $`${python} -m pip install -q ${PACKAGES.split(" ")}`
}
const model = join(home, "stories.gguf")
await writeStandIn(
  model,
  { kind: "stories", template: "{{ messages }}", infill: false },
  process.env.PEER_SUITE_DATA ?? "",
  modelsFolder(),
)
await mkdir(join(tests, "tmp"), { recursive: true })
for (const name of DOWNLOADS) await copyFile(model, join(tests, "tmp", name))

const asked = process.argv.slice(2)
const files = [...new Bun.Glob("unit/test_*.py").scanSync(tests)]
  .sort()
  .filter((file) => asked.length === 0 || asked.some((name) => file.endsWith(`${name}.py`)))
const env = {
  ...process.env,
  LLAMA_SERVER_BIN_PATH: join(import.meta.dir, "llama-server"),
  PORT: process.env.PORT ?? "31877",
}
for (const file of files) {
  const args = ["-q", "-m", "not slow", file, "--timeout", String(TIMEOUT_S), "-rfE"]
  const { stdout } = await $`${python} -m pytest ${args}`.cwd(tests).env(env).nothrow().quiet()
  const lines = stdout.toString().split("\n")
  const shown = lines.filter((line) => /^(FAILED|ERROR) /.test(line) || /^\d+ .* in [\d.]+s/.test(line))
  console.log(`${file}\n${shown.map((line) => `  ${line}`).join("\n")}`)
}
