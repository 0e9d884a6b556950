const { readFileSync, watchFile, unwatchFile } = require('node:fs');
const vscode = require('vscode');

const CHOICE = process.env.CHOSEN_PYTHON;

exports.activate = ({ subscriptions }) => {
  const chosen = new vscode.EventEmitter();
  watchFile(CHOICE, { interval: 100 }, () => chosen.fire({ path: readFileSync(CHOICE, 'utf8') }));
  subscriptions.push(chosen, { dispose: () => unwatchFile(CHOICE) });
  return {
    environments: {
      getActiveEnvironmentPath: () => ({ path: readFileSync(CHOICE, 'utf8') }),
      onDidChangeActiveEnvironmentPath: chosen.event,
    },
  };
};
