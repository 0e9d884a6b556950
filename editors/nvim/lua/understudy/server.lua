--- The language server's processes, `understudy lsp`: one per project, started for the first file of it, again after a crash.
local api = vim.api
local back_off = require('understudy.back_off')
local config = require('understudy.config')
local executable = require('understudy.executable')
local languages = require('understudy.languages')
local lsp = require('understudy.lsp')
local status = require('understudy.status')

local M = {}

M.NAME = 'understudy'

local resting = {} ---@type table<string, true> projects whose server died, until it is started again
local language_of = {} ---@type table<integer, string> by buffer, as the server was told
local has_complained = false

--- Our language server of a buffer, once it is initialised.
---@param buf integer
---@return vim.lsp.Client?
function M.client(buf)
  return vim.lsp.get_clients({ bufnr = buf, name = M.NAME })[1]
end

---@return vim.lsp.Client[]
function M.clients()
  return vim.lsp.get_clients({ name = M.NAME })
end

---@param buf integer
local function is_file(buf)
  return api.nvim_buf_is_loaded(buf) and vim.bo[buf].buftype == '' and api.nvim_buf_get_name(buf) ~= ''
end

--- The folder above a file that holds the first of the markers that is found at all.
---@param buf integer
---@return string?
local function project_of(buf)
  for _, marker in ipairs(config.options.root_markers) do
    local root = vim.fs.root(buf, marker)
    if root then
      return root
    end
  end
end

local function complain()
  if not has_complained then
    has_complained = true
    vim.notify('understudy: the command `understudy` was not found; ' .. executable.HOW_TO_GET_IT, vim.log.levels.WARN)
  end
end

--- A server died by itself: start it again, each time after a longer wait, but not for ever.
---@param project string
---@param lived_ms number
local function on_death(project, lived_ms)
  resting[project] = true
  local wait_ms = back_off.died(project, lived_ms)
  if not wait_ms then
    local how = '`:Understudy log` may say why, `:Understudy restart server` starts it again'
    return vim.notify('understudy: the language server died several times; ' .. how, vim.log.levels.WARN)
  end
  vim.defer_fn(function()
    resting[project] = nil
    M.attach_all()
  end, wait_ms)
end

--- What becomes of a server that ends, for one that starts now.
---@param project string
local function exit_handler(project)
  local started_ms = vim.uv.now()
  return function(code, signal, client_id)
    vim.schedule(function()
      status.forget(client_id)
      if vim.v.exiting == vim.NIL and (code ~= 0 or signal ~= 0) and signal ~= 15 then
        on_death(project, vim.uv.now() - started_ms)
      end
    end)
  end
end

---@param command string[]
---@param root string?
---@return vim.lsp.ClientConfig
local function client_config(command, root)
  local options = config.options
  return {
    name = M.NAME,
    cmd = vim.list_extend(vim.deepcopy(command), { 'lsp', '--client', 'neovim', '--log-level', options.log_level }),
    root_dir = root,
    workspace_folders = root and { { uri = vim.uri_from_fname(root), name = vim.fs.basename(root) } } or nil,
    capabilities = lsp.capabilities(options.capabilities),
    init_options = next(options.settings) and options.settings or vim.empty_dict(), -- an empty table would be sent as a list
    handlers = { [status.METHOD] = status.handler },
    get_language_id = function(_, filetype)
      return languages.identifier(filetype)
    end,
    on_init = function(client)
      lsp.disable_native_drawing(client)
    end,
    on_exit = exit_handler(root or ''),
  }
end

--- Give a buffer its language server, if it shows a file. Does nothing for one that has it.
---@param buf integer
function M.attach(buf)
  if not is_file(buf) then
    return
  end
  local command = executable.find(config.options.command)
  if not command then
    return complain()
  end
  local root = project_of(buf)
  if resting[root or ''] then
    return
  end
  language_of[buf] = languages.identifier(vim.bo[buf].filetype)
  vim.lsp.start(client_config(command, root), {
    bufnr = buf,
    silent = true,
    reuse_client = function(client, wanted)
      return client.name == M.NAME and client.config.root_dir == wanted.root_dir and not lsp.is_stopped(client)
    end,
  })
end

function M.attach_all()
  vim.iter(api.nvim_list_bufs()):each(M.attach)
end

--- A buffer's file type was set: the server reads it as another language from now on.
---@param buf integer
local function set_language(buf)
  local client = M.client(buf)
  if client and language_of[buf] ~= languages.identifier(vim.bo[buf].filetype) then
    vim.lsp.buf_detach_client(buf, client.id)
    client = nil
  end
  if not client then
    M.attach(buf)
  end
end

---@param group integer
function M.watch(group)
  api.nvim_create_autocmd('FileType', {
    group = group,
    callback = function(event)
      set_language(event.buf)
    end,
  })
  api.nvim_create_autocmd({ 'BufEnter', 'BufFilePost', 'BufWritePost' }, {
    group = group,
    callback = function(event)
      if not M.client(event.buf) then
        M.attach(event.buf)
      end
    end,
  })
  M.attach_all()
end

--- Run a command of a suggestion; nobody waits for it.
---@param client vim.lsp.Client
---@param command lsp.Command?
---@param buf integer
function M.run(client, command, buf)
  if command then
    local params = { command = command.command, arguments = command.arguments }
    lsp.request(client, 'workspace/executeCommand', params, buf, function() end)
  end
end

--- Run one of our commands by name, on the server of the current buffer or else on any.
---@param name string
---@param arguments any[]
---@param done fun(result: table) called with what the server returned; its `ok` is false if something went wrong
function M.execute(name, arguments, done)
  local buf = api.nvim_get_current_buf()
  local client = M.client(buf) or M.clients()[1]
  if not client then
    return done({ ok = false, message = 'the language server does not run; `:checkhealth understudy` says why' })
  end
  lsp.request(client, 'workspace/executeCommand', { command = name, arguments = arguments }, buf, function(err, result)
    done(result or { ok = false, message = err and err.message or 'the language server did not answer' })
  end)
end

--- Stop every server and start those that are needed anew.
function M.restart()
  back_off.reset()
  resting = {}
  has_complained = false
  local clients = M.clients()
  for _, client in ipairs(clients) do
    lsp.stop(client)
  end
  local n_tries = 100
  local function start()
    n_tries = n_tries - 1
    if #M.clients() > 0 and n_tries > 0 then
      return vim.defer_fn(start, 50)
    end
    M.attach_all()
  end
  start()
end

return M
