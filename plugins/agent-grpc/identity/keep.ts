import { type Call, TapvisorError } from "tapvisor/plugin";
import { KEEP_NOW, KEEP_PREAMBLE, parseAnswer } from "tapvisor/protocol";
import { wrong } from "../answers.ts";
import { guestText } from "../guest-text.ts";
import { DEADLINES } from "../limits.ts";
import type { Link } from "../link.ts";
import { exchangeLines } from "./exchange-lines.ts";

const SUBJECT = "answer about what keeps the guest's port";

/** Has the guest's port kept by less than its agent, where the guest does that: see the protocol's renewal.ts. What is said over this connection later undoes it. */
export function keep(link: Link, call: Call): Promise<void> {
  const reset = () => refused("ABORTED", "it has reset the stream");
  const wait = { what: "the guest to be ready to be saved", subject: SUBJECT, timeoutMs: DEADLINES.PrepareToBeSaved, reset };
  return exchangeLines(link, wait, call, async ({ stream, readLine }, signal) => {
    stream.write(KEEP_PREAMBLE);
    const answer = await readLine(signal);
    check(answer);
    if (!answer.includes('"keeps":true')) return void stream.end();
    stream.write(KEEP_NOW);
    check(await readLine(signal));
  });
}

function check(text: string): void {
  const answer = parseAnswer(text);
  if (!answer) throw wrong(SUBJECT, guestText(text, 256), "ok or a status");
  if ("status" in answer) throw refused(answer.status, guestText(answer.text));
}

function refused(status: string, text: string): TapvisorError {
  return new TapvisorError("AGENT_FAILED", `Cannot prepare the guest to be saved: the agent answered ${status} (${text})`, {
    data: { method: "PrepareToBeSaved", status },
  });
}
