--- `:checkhealth understudy`: what works here, and what mends the rest.
local M = {}

local function check_neovim()
  local version = tostring(vim.version())
  if vim.fn.has('nvim-0.10') == 1 then
    vim.health.ok('Neovim ' .. version)
  else
    vim.health.error('Neovim ' .. version, 'Neovim 0.10 or later is needed')
  end
end

---@return string[]? command
local function check_command()
  local executable = require('understudy.executable')
  local options = require('understudy.config').options
  local command = executable.find(options.command)
  if not command then
    local looked = table.concat(executable.candidates(options.command), ', ')
    vim.health.error('the command `understudy` was not found', { 'looked for ' .. looked, executable.HOW_TO_GET_IT })
    return nil
  end
  local done = vim.system(vim.list_extend(vim.deepcopy(command), { '--version' }), { text = true }):wait()
  if done.code == 0 then
    vim.health.ok(('%s (%s)'):format(table.concat(command, ' '), vim.trim(done.stdout)))
  else
    vim.health.error(table.concat(command, ' ') .. ' --version failed', vim.trim(done.stderr))
  end
  return done.code == 0 and command or nil
end

local function check_servers()
  local server, status = require('understudy.server'), require('understudy.status')
  local clients = server.clients()
  if #clients == 0 then
    local steps = { 'open a file that has a name', "call require('understudy').setup{}", '`:Understudy log` may say why' }
    vim.health.warn('no language server runs', steps)
  end
  for _, client in ipairs(clients) do
    local known = status.of(client)
    local where = client.config.root_dir or 'files without a project'
    local line = ('%s: %s'):format(where, status.line(known))
    if known.state == 'ready' then
      vim.health.ok(line)
    elseif known.noModel then
      vim.health.warn(line, { '`:Understudy setup` brings one' })
    else
      vim.health.warn(line .. ' ' .. (known.message or ''), known.remedy and { known.remedy } or nil)
    end
  end
end

local function check_keys()
  local keys = require('understudy.config').options.keys
  for name, key in pairs(keys or {}) do
    local mapped = key and vim.fn.maparg(key, 'i', false, true)
    if mapped and not (mapped.desc or ''):find('^understudy: ') then
      vim.health.info(('%s (%s) is mapped by something else; see `:help understudy-menus`'):format(key, name))
    end
  end
end

---@param command string[]
local function check_runtime(command)
  local done = vim.system(vim.list_extend(vim.deepcopy(command), { 'doctor' }), { text = true, env = { NO_COLOR = '1' } }):wait()
  for line in vim.gsplit(vim.trim(done.stdout), '\n') do
    vim.health.info(line)
  end
end

function M.check()
  vim.health.start('understudy')
  check_neovim()
  local command = check_command()
  check_servers()
  check_keys()
  if command then
    vim.health.start('understudy doctor')
    check_runtime(command)
  end
end

return M
