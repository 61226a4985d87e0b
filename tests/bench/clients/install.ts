/** Installs clients into the scratch folder. Nothing is added to this project's own packages. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { ENVIRONMENTS, type Environment, type EnvironmentName } from "./clients.ts"
import { execute } from "./execute.ts"

/** Time for one installation, in milliseconds. */
const INSTALL_MS = 20 * 60_000

/** The folder of an environment. */
export const folderOf = (scratch: string, name: EnvironmentName): string => join(scratch, name)

/** The path of a program of an environment. */
export const programOf = (scratch: string, name: EnvironmentName, program: string): string =>
  join(folderOf(scratch, name), ENVIRONMENTS[name].kind === "npm" ? "node_modules/.bin" : "bin", program)

/**
 * Installs an environment, unless it was installed before with the same packages.
 * @throws Error with the installer's last words
 */
export async function install(scratch: string, name: EnvironmentName): Promise<void> {
  const environment: Environment = ENVIRONMENTS[name]
  const folder = folderOf(scratch, name)
  const receipt = join(folder, "installed.json")
  const wanted = JSON.stringify(environment)
  if (existsSync(receipt) && readFileSync(receipt, "utf8") === wanted) return
  mkdirSync(folder, { recursive: true })
  if (environment.kind === "npm") await installNpm(folder, environment)
  else await installPip(folder, environment)
  writeFileSync(receipt, wanted)
}

async function installNpm(folder: string, { packages, scripts = [] }: Environment): Promise<void> {
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }))
  await must(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", ...packages], folder)
  for (const name of scripts) {
    // Only the scripts named here run, each in its package's folder.
    const home = join(folder, "node_modules", name)
    const { scripts: own = {} } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as {
      scripts?: Record<string, string>
    }
    if (own.postinstall !== undefined) await must(["sh", "-c", own.postinstall], home)
  }
}

async function installPip(folder: string, { packages }: Environment): Promise<void> {
  await must(["python3", "-m", "venv", folder], dirname(folder))
  await must([join(folder, "bin/pip"), "install", "--quiet", ...packages], folder)
}

async function must(command: string[], cwd: string): Promise<void> {
  const { code, stdout, stderr } = await execute(command, { cwd, limitMs: INSTALL_MS })
  if (code === 0) return
  const words = `${stdout}${stderr}`.trim().split("\n").slice(-3).join(" ")
  throw new Error(`cannot be installed: ${words}`)
}

/** The installed version of a package. */
export async function versionOf(scratch: string, name: EnvironmentName, from: string): Promise<string> {
  const folder = folderOf(scratch, name)
  if (ENVIRONMENTS[name].kind === "npm") {
    const { version } = JSON.parse(readFileSync(join(folder, "node_modules", from, "package.json"), "utf8")) as {
      version: string
    }
    return version
  }
  const ask = `import importlib.metadata as m; print(m.version("${from}"))`
  return (await execute([join(folder, "bin/python"), "-c", ask], { cwd: folder, limitMs: 60_000 })).stdout.trim()
}
