import { expect, test } from "bun:test"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { runCommand } from "../../../scripts/build/command.ts"

const ROOT = join(import.meta.dir, "../../..")

// Bun reads compiler settings (for JSX, for example) from the tsconfig.json in its working directory.
test("the command line and the server load in a folder without this project's tsconfig.json", async () => {
  const code = `const { createServer } = await import(${JSON.stringify(join(ROOT, "src/server/index.ts"))})
    const response = await createServer({ models: [] }).handle(new Request("http://localhost/"))
    console.log(response.status, response.headers.get("content-type"))`
  const server = await runCommand([process.execPath, "--eval", code], tmpdir())
  expect(server).toMatchObject({ code: 0, stdout: "200 text/html; charset=utf-8\n" })
  const cli = await runCommand([process.execPath, join(ROOT, "src/cli.ts"), "--version"], tmpdir())
  expect(cli.code).toBe(0)
})
