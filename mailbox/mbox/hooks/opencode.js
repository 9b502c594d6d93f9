// mbox: calls the hooks of the mailbox toolkit (`mbox hooks remove opencode` takes this file away).
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { homedir } from "node:os"

const LAUNCHER = `${process.env.HOME || homedir()}/.local/share/mbox/hook`

// One call: the JSON on stdin, the answer as an object; null where the launcher is not there, undefined where it failed.
function call(event, doc) {
  if (!existsSync(LAUNCHER)) return Promise.resolve(null)
  return new Promise((resolve) => {
    const child = spawn(LAUNCHER, ["opencode", event], { stdio: ["pipe", "pipe", "ignore"] })
    const timer = setTimeout(() => { child.kill("SIGKILL"); resolve(undefined) }, 15000)
    let out = ""
    child.stdout.on("data", (data) => { out += data })
    child.stdin.on("error", () => {})
    child.on("error", () => { clearTimeout(timer); resolve(undefined) })
    child.on("close", (code) => {
      clearTimeout(timer)
      if (code !== 0) return resolve(undefined)
      try { resolve(JSON.parse(out.trim() || "{}")) } catch { resolve(undefined) }
    })
    child.stdin.end(JSON.stringify(doc))
  })
}

export const Mbox = async ({ directory, worktree }) => {
  const cwd = directory || worktree
  const cards = new Map() // of a session; asked for at its first prompt here and after a compaction: a new one takes the old one's place
  const waiting = new Map() // what is to be said with a tool's output
  const begin = (id, event) => { cards.set(id, call(event, { cwd, session_id: id }).then((answer) => (answer && answer.inject) || "")) }
  const keep = (id, answer) => { if (answer && answer.inject) waiting.set(id, [...(waiting.get(id) || []), answer.inject]) }
  return {
    "chat.message": async (input, output) => {
      const id = input.sessionID
      if (!cards.has(id)) { begin(id, "session.created"); await cards.get(id) }
      const answer = await call("chat.message", { cwd, session_id: id })
      const first = output.parts && output.parts[0]
      if (!answer || !answer.inject) return
      if (!first || !String(first.id).startsWith("prt_")) return keep(id, answer)
      output.parts.push({ ...first, id: `prt_zz${first.id.slice(6)}`, type: "text", synthetic: true, text: answer.inject })
    },
    "experimental.chat.system.transform": async (input, output) => {
      const card = await cards.get(input.sessionID)
      if (card) output.system.push(card)
    },
    "tool.execute.before": async (input, output) => {
      const doc = { cwd, session_id: input.sessionID, tool: input.tool, call_id: input.callID, args: output.args }
      const answer = await call("tool.execute.before", doc)
      if (answer === undefined) throw new Error("mbox: the guard gave no answer, so the call was not made")
      if (answer && answer.deny) throw new Error(answer.deny)
    },
    "tool.execute.after": async (input, output) => {
      const doc = { cwd, session_id: input.sessionID, tool: input.tool, call_id: input.callID, args: input.args || {} }
      keep(input.sessionID, await call("tool.execute.after", doc))
      const told = waiting.get(input.sessionID)
      if (told && typeof output.output === "string") {
        output.output += `\n\n${told.join("\n")}`
        waiting.delete(input.sessionID)
      }
    },
    event: async ({ event }) => {
      const of = event.properties || {}
      const id = of.sessionID || (of.info && of.info.id) || ""
      if (event.type === "session.compacted") begin(id, event.type)
      else if (event.type === "session.idle" || event.type === "session.deleted") keep(id, await call(event.type, { cwd, session_id: id }))
    },
  }
}
