--- `:Understudy`: its sub-commands, and how their words complete.
local config = require('understudy.config')
local executable = require('understudy.executable')
local server = require('understudy.server')
local status = require('understudy.status')
local window = require('understudy.window')

local M = {}

local WAIT_FOR_NAMES_MS = 500
local N_LOG_LINES = 200

---@param message string
---@param level? integer
local function tell(message, level)
  vim.notify('understudy: ' .. message, level or vim.log.levels.INFO)
end

--- Run a command of the server; show what went wrong, or go on with what it returned.
---@param name string
---@param arguments any[]
---@param done fun(result: table)
local function execute(name, arguments, done)
  server.execute(name, arguments, function(result)
    if result.ok then
      done(result)
    else
      tell(result.message, vim.log.levels.WARN)
    end
  end)
end

--- Run `understudy WORDS` and show what it prints.
---@param words string[]
local function run(words)
  local command = executable.find(config.options.command)
  if not command then
    return tell('the command was not found; ' .. executable.HOW_TO_GET_IT, vim.log.levels.WARN)
  end
  local title = 'understudy ' .. table.concat(words, ' ')
  tell(title .. ' runs')
  local env = { NO_COLOR = '1', COLUMNS = tostring(window.width()) }
  vim.system(vim.list_extend(vim.deepcopy(command), words), { text = true, env = env }, function(done)
    vim.schedule(function()
      local printed = vim.trim((done.stdout or '') .. (done.stderr or ''))
      window.show(title, vim.split(printed ~= '' and printed or 'done', '\n', { plain = true }))
    end)
  end)
end

---@return string? the folder that the current file's server looks after
local function project()
  local client = server.client(vim.api.nvim_get_current_buf())
  return client and client.config.root_dir or nil
end

---@param result table of a command about adapters
---@return string[]
local function adapter_lines(result)
  local listed = result.adapters
  local active = listed.active
  local lines = { ('%s base'):format(active.id == vim.NIL and '*' or ' ') }
  for _, adapter in ipairs(listed.data) do
    local is_active = adapter.id == active.id
    local strength = is_active and ('  strength %.2g'):format(active.strength) or ''
    lines[#lines + 1] = ('%s %s%s'):format(is_active and '*' or ' ', adapter.name, strength)
  end
  return lines
end

---@return string[]
local function adapter_names()
  local names, is_done = { 'base' }, false
  server.execute('understudy.adapter.list', {}, function(result)
    for _, adapter in ipairs(result.ok and result.adapters.data or {}) do
      names[#names + 1] = adapter.name
    end
    is_done = true
  end)
  vim.wait(WAIT_FOR_NAMES_MS, function()
    return is_done
  end, 5)
  return names
end

---@class understudy.Command
---@field run fun(words: string[])
---@field complete? fun(): string[] what may follow

---@type table<string, understudy.Command>
M.commands = {}

M.commands.toggle = {
  complete = function()
    return { 'everywhere', 'language', 'folder' }
  end,
  run = function(words)
    local scope, value = words[1] or 'everywhere', words[2] or ''
    if scope == 'language' then
      value = words[2] or require('understudy.languages').identifier(vim.bo.filetype)
    elseif scope == 'folder' then
      value = words[2] and vim.fn.fnamemodify(words[2], ':p') or project() or vim.fn.getcwd()
    end
    execute('understudy.toggle', { scope == 'everywhere' and 'global' or scope, value }, function(result)
      local off = {
        everywhere = result.everywhereOff,
        language = vim.list_contains(result.languagesOff, value),
        folder = vim.list_contains(result.foldersOff, (value:gsub('(.)/$', '%1'))),
      }
      local what = scope == 'everywhere' and 'everywhere' or ('for %s'):format(value)
      tell(('suggestions are %s %s'):format(off[scope] and 'off' or 'on', what))
      require('understudy.ghost').refresh()
    end)
  end,
}

M.commands.why = {
  run = function()
    execute('understudy.why', { 20 }, function(result)
      local lines = {}
      for i = #result.answers, 1, -1 do
        local answer = result.answers[i]
        local name = answer.path ~= '' and vim.fn.fnamemodify(answer.path, ':~:.') or 'a new document'
        lines[#lines + 1] = ('%s  %s:%d  %s'):format(os.date('%H:%M:%S', math.floor(answer.at)), name, answer.line + 1, answer.sentence)
      end
      window.show('Why there was nothing, latest first', #lines > 0 and lines or { 'Nothing was asked yet.' })
    end)
  end,
}

M.commands.stats = {
  run = function()
    execute('understudy.stats', {}, function(result)
      window.show('Suggestions of the last 30 days', require('understudy.stats').lines(result))
    end)
  end,
}

M.commands.adapter = {
  complete = adapter_names,
  run = function(words)
    if not words[1] then
      return execute('understudy.adapter.list', {}, function(result)
        window.show('Adapters', adapter_lines(result))
      end)
    end
    local is_base = words[1] == 'base'
    local name = is_base and 'understudy.adapter.base' or 'understudy.adapter.use'
    execute(name, is_base and {} or { words[1], tonumber(words[2] or 1) }, function()
      tell(is_base and 'the base model answers' or ('adapter %s answers'):format(words[1]))
    end)
  end,
}

M.commands.strength = {
  complete = function()
    return { '0', '0.5', '1', '1.5' }
  end,
  run = function(words)
    local strength = tonumber(words[1])
    if not strength then
      return tell('`:Understudy strength NUMBER`: 0 is the base model, 1 the adapter as it was trained', vim.log.levels.WARN)
    end
    execute('understudy.adapter.strength', { strength }, function()
      tell(('strength %.2g'):format(strength))
    end)
  end,
}

M.commands.setup = {
  run = function(words)
    require('understudy.model_setup').run(words[1] and table.concat(words, ' '))
  end,
}

M.commands.train = {
  run = function()
    execute('understudy.train', {}, function(result)
      tell(result.message)
    end)
  end,
}

M.commands.learn = {
  complete = function()
    return { 'on', 'off', 'status', 'preview', 'now', 'pause', 'resume' }
  end,
  run = function(words)
    if words[1] then
      return run({ 'learn', unpack(words) })
    end
    local folder = project() or vim.fn.getcwd()
    local question = ('Keep what you save in %s on this machine, and learn from it?'):format(folder)
    if vim.fn.confirm(question, '&Yes\n&No', 2) == 1 then
      run({ 'learn', 'on', folder })
    end
  end,
}

M.commands.forget = {
  run = function(words)
    local path = words[1] and vim.fn.fnamemodify(words[1], ':p') or vim.api.nvim_buf_get_name(0)
    if vim.fn.confirm(('Forget %s, and all that was learnt from it?'):format(path), '&Yes\n&No', 2) ~= 1 then
      return
    end
    if words[1] then
      return run({ 'forget', path, '--yes' })
    end
    execute('understudy.forget', { vim.uri_from_bufnr(0) }, function(result)
      tell(result.message)
    end)
  end,
}

M.commands.restart = {
  complete = function()
    return { 'runtime', 'server' }
  end,
  run = function(words)
    if words[1] == 'server' or #server.clients() == 0 then
      server.restart()
      return tell('the language server starts anew')
    end
    execute('understudy.restart', {}, function()
      tell('the runtime starts anew')
    end)
  end,
}

M.commands.status = {
  run = function()
    local known = status.of(server.client(vim.api.nvim_get_current_buf()) or server.clients()[1])
    local lines = { status.line(known) }
    local night = known.night and known.night.sentence or ''
    local remedy = known.noModel and '`:Understudy setup` brings one' or known.remedy or ''
    for _, more in ipairs({ known.message or '', remedy, known.skip and known.sentence or '', night }) do
      if more ~= '' then
        lines[#lines + 1] = more
      end
    end
    vim.api.nvim_echo({ { table.concat(lines, '\n') } }, true, {})
  end,
}

M.commands.report = {
  complete = function()
    return { '--open' }
  end,
  run = function(words)
    run({ 'report', unpack(words) })
  end,
}

M.commands.log = {
  run = function()
    local path = require('vim.lsp.log').get_filename()
    local lines = vim.fn.filereadable(path) == 1 and vim.fn.readfile(path, '', -N_LOG_LINES) or {}
    window.show('Log of language servers', vim.list_extend(lines, { 'The end of ' .. path }))
    vim.cmd.normal({ 'G', bang = true })
  end,
}

---@return string[] names, sorted
function M.names()
  local names = vim.tbl_keys(M.commands)
  table.sort(names)
  return names
end

--- Run what was typed after `:Understudy`; without a word, tell the status.
---@param words string[]
function M.run(words)
  local command = M.commands[words[1] or 'status']
  if not command then
    return tell(('no command %s; there are %s'):format(words[1], table.concat(M.names(), ', ')), vim.log.levels.WARN)
  end
  command.run(vim.list_slice(words, 2))
end

--- Completions for the word that is being typed.
---@param lead string
---@param line string the command line up to the cursor
---@return string[]
function M.complete(lead, line)
  local words = vim.split(line, '%s+', { trimempty = true })
  local n_before = #words - (lead ~= '' and 1 or 0)
  local command = n_before == 2 and M.commands[words[2]]
  local candidates = n_before == 1 and M.names() or command and command.complete and command.complete() or {}
  return vim.tbl_filter(function(candidate)
    return vim.startswith(candidate, lead)
  end, candidates)
end

return M
