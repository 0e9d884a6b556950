/** Which adapters there are, and which serves: asked of the server, chosen by the user. */

import * as vscode from 'vscode';
import type { Answer, Server } from './server.ts';

interface Card {
  readonly name: string;
  readonly id: string | null;
  readonly parent: string | null;
  /** Why it cannot serve. */
  readonly problem: string | null;
}

interface Adapters extends Answer {
  readonly adapters: {
    readonly active: { readonly adapter: string | null; readonly id: string | null; readonly strength: number };
    readonly data: readonly Card[];
  };
}

const STRENGTHS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2];
const BASE = 'Base model';

/** Let the user choose the base model or an adapter; it serves from the next key on. */
export async function chooseAdapter(server: Server): Promise<Answer | undefined> {
  const answer = await server.execute<Adapters>('understudy.adapter.list');
  if (!isListed(answer)) {
    return answer;
  }
  const { active, data } = answer.adapters;
  const chosen = await vscode.window.showQuickPick(
    [
      { label: BASE, description: active.adapter === null ? 'serving' : '' },
      ...data.map((card) => ({
        label: card.name,
        description: card.name === active.adapter ? `serving, strength ${active.strength}` : '',
        detail: card.problem ?? '',
      })),
    ],
    { title: 'Understudy: who answers?', placeHolder: data.length ? '' : 'Nothing has been learnt yet' },
  );
  if (chosen === undefined) {
    return undefined;
  }
  return chosen.label === BASE
    ? server.execute('understudy.adapter.base')
    : server.execute('understudy.adapter.use', chosen.label);
}

/** Let the user choose how much of the adapter there is. */
export async function chooseStrength(server: Server): Promise<Answer | undefined> {
  const now = server.status.strength ?? 1;
  const chosen = await vscode.window.showQuickPick(
    STRENGTHS.map((strength) => ({ label: String(strength), description: strength === now ? 'now' : '' })),
    { title: 'Understudy: strength of the adapter', placeHolder: '1: as it was trained' },
  );
  return chosen === undefined ? undefined : server.execute('understudy.adapter.strength', Number(chosen.label));
}

function isListed(answer: Adapters | Answer): answer is Adapters {
  return answer.ok && 'adapters' in answer;
}
