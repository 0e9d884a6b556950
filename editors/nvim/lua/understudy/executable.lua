--- Where the `understudy` command is.
local M = {}

M.HOW_TO_GET_IT = 'clone the repository and run `pipx install .` in it (or `make env`), '
  .. "or name the command: require('understudy').setup{ command = '/path/to/understudy' }"

--- Places to look, best first: what the user said, the environment they work in, the path, and where installers put commands.
---@param command string|string[]|false
---@return string[]
function M.candidates(command)
  if command then
    return { type(command) == 'table' and command[1] or command }
  end
  local here = debug.getinfo(1, 'S').source:sub(2)
  here = vim.uv.fs_realpath(here) or here -- packages are links to the clone
  local checkout = vim.fs.dirname(vim.fs.dirname(vim.fs.dirname(vim.fs.dirname(vim.fs.dirname(here)))))
  local home = vim.uv.os_homedir() or ''
  local candidates = {
    'understudy',
    checkout .. '/.venv/bin/understudy', -- the plugin is part of a clone, and `make env` was run there
    home .. '/.local/bin/understudy',
    home .. '/.local/share/pipx/venvs/understudy/bin/understudy',
    home .. '/.local/share/uv/tools/understudy/bin/understudy',
  }
  if vim.env.VIRTUAL_ENV then
    table.insert(candidates, 1, vim.env.VIRTUAL_ENV .. '/bin/understudy')
  end
  return candidates
end

--- The command as a list of words; nil if there is none on this machine.
---@param command string|string[]|false
---@return string[]?
function M.find(command)
  for _, candidate in ipairs(M.candidates(command)) do
    local path = vim.fn.exepath(candidate)
    if path ~= '' then
      return type(command) == 'table' and vim.list_extend({ path }, command, 2) or { path }
    end
  end
end

return M
