/** Brings a model: says which one fits this machine, and sets it up once its user agreed. */

import * as vscode from 'vscode';
import type { Answer, Server } from './server.ts';
import { alternativesOf, outcomeOf, type Plan, planOf, planShown, progressOf } from './setUpEvents.ts';
import { hasModel } from './status.ts';
import { type Ended, understudy } from './understudyCommand.ts';

export const SET_UP_COMMAND = 'understudy.setup';
const SET_UP = 'Set Up';
const ANOTHER = 'Another…';
const BY_NAME = 'By name or path…';
const PROMPT =
  '`understudy model get --list` and `understudy model find` list names; a path is one on the machine of your files';
const OFFERED = 'offered:model';

export class SetUp {
  readonly #server: Server;
  readonly #log: vscode.LogOutputChannel;
  #isRunning = false;

  constructor(server: Server, log: vscode.LogOutputChannel) {
    this.#server = server;
    this.#log = log;
  }

  /** One at a time; without an answer if its user left it. */
  async run(): Promise<Answer | undefined> {
    if (this.#isRunning) {
      return { ok: false, message: 'a model is being set up already' };
    }
    this.#isRunning = true;
    try {
      return await this.#setUp();
    } finally {
      this.#isRunning = false;
    }
  }

  async #setUp(wanted?: string): Promise<Answer | undefined> {
    const looked = await this.#understudy('looking for a model that fits', wanted, []);
    if (looked.cancelled) {
      return undefined;
    }
    const plan = planOf(looked.lines);
    if (plan === undefined) {
      return outcomeOf(looked.lines)?.ok ? this.#goOn(await askForAnother(looked)) : told(looked);
    }
    const chosen = await ask(plan);
    if (chosen === SET_UP) {
      return told(await this.#understudy(`setting up ${plan.title}`, wanted ?? plan.model, ['--yes']));
    }
    return this.#goOn(chosen, plan);
  }

  /** With another model, if that is what was chosen. */
  async #goOn(chosen: string | undefined, plan?: Plan): Promise<Answer | undefined> {
    const wanted = chosen === ANOTHER ? await another(plan) : undefined;
    return wanted === undefined ? undefined : this.#setUp(wanted);
  }

  #understudy(title: string, wanted: string | undefined, more: readonly string[]): Promise<Ended> {
    const model = wanted === undefined ? [] : [`--model=${wanted}`];
    const args = ['setup', '--json', ...more, ...model];
    return understudy(this.#server, this.#log, { title, args, cancellable: true, progressOf });
  }
}

/** Say once per workspace that there is no model yet, with the way to one. */
export function offerOnce(server: Server, memory: vscode.Memento): vscode.Disposable {
  return server.onDidChange(async () => {
    if (server.status.noModel !== true || memory.get<boolean>(OFFERED)) {
      return;
    }
    void memory.update(OFFERED, true);
    const message = 'Understudy has no model yet, so it suggests nothing.';
    if ((await vscode.window.showInformationMessage(message, 'Set Up a Model…')) !== undefined) {
      await vscode.commands.executeCommand(SET_UP_COMMAND);
    }
  });
}

/** The context key `understudy.hasModel`: a step of the walkthrough ends with it. */
export function keepContext(server: Server): vscode.Disposable {
  let known: boolean | undefined;
  return server.onDidChange(() => {
    const now = hasModel(server.status);
    if (now !== known) {
      known = now;
      void vscode.commands.executeCommand('setContext', 'understudy.hasModel', now);
    }
  });
}

async function ask(plan: Plan): Promise<string | undefined> {
  const { question, detail } = planShown(plan);
  return vscode.window.showInformationMessage(question, { modal: true, detail }, SET_UP, ANOTHER);
}

/** There is one that answers already. */
async function askForAnother(looked: Ended): Promise<string | undefined> {
  return vscode.window.showInformationMessage(`${outcomeOf(looked.lines)?.message}.`, { modal: true }, ANOTHER);
}

/** Another model than the one of the plan; undefined if its user thought better of it. */
async function another(plan: Plan | undefined): Promise<string | undefined> {
  const known = alternativesOf(plan).map(({ name, words }) => ({ label: name, detail: words }));
  const own = { label: BY_NAME, detail: 'of the catalogue, a GGUF file, a folder, or ollama:NAME and the like' };
  const chosen = await vscode.window.showQuickPick([...known, own], { title: 'Understudy: which model?' });
  if (chosen?.label !== BY_NAME) {
    return chosen?.label;
  }
  const given = await vscode.window.showInputBox({ title: 'Understudy: which model?', prompt: PROMPT });
  return given?.trim() || undefined;
}

/** How it ended, with a message where that is well. */
function told(ended: Ended): Answer {
  const outcome = outcomeOf(ended.lines);
  if (outcome === undefined && ended.cancelled) {
    return said('the set-up is stopped; the next one goes on from there');
  }
  if (outcome === undefined) {
    return { ok: false, message: ended.message || 'the set-up ended without a word' };
  }
  return outcome.ok ? said(outcome.message) : outcome;
}

function said(message: string): Answer {
  void vscode.window.showInformationMessage(`Understudy: ${message}`);
  return { ok: true };
}
