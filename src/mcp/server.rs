//! The protocol side: lists tools and calls them.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest,
    CustomResult, ErrorCode, ErrorData, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};

use super::answers::answer;
use super::bounds::short;
use super::session::Session;
use super::tools::{self, INSTRUCTIONS, NAMES};

/// The supported methods.
const METHODS: [&str; 4] = ["initialize", "ping", "tools/list", "tools/call"];

/// A server for one client.
#[derive(Debug)]
pub struct Server {
    session: Arc<Session>,
}

impl Server {
    /// A server for the files of a session.
    pub fn new(session: Session) -> Server {
        Server {
            session: Arc::new(session),
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("poolscope", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = short(&request.method);
        // A known method that arrives here has invalid parameters.
        Err(match METHODS.contains(&request.method.as_str()) {
            true => {
                let why = format!(
                    "wrong params of {method}: they are an object, for tools/call {{\"name\": …, \"arguments\": {{…}}}}"
                );
                ErrorData::invalid_params(why, None)
            }
            false => {
                let all = METHODS.join(", ");
                let why = format!("unknown method: {method}; this server has {all}");
                ErrorData::new(ErrorCode::METHOD_NOT_FOUND, why, None)
            }
        })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let session = Arc::clone(&self.session);
        let name = request.name.clone();
        let given = request.arguments.unwrap_or_default();
        let cancelled = context.ct;
        let worked = tokio::task::spawn_blocking(move || {
            answer(&session, &name, &given, &|| !cancelled.is_cancelled())
        });
        let answered = match worked.await {
            Ok(Some(answered)) => answered,
            Ok(None) => {
                let name = short(&request.name);
                let all = NAMES.join(", ");
                let why = format!("unknown tool: {name}; the tools are {all}");
                return Err(ErrorData::invalid_params(why, None));
            }
            Err(_) => Err(
                "the tool failed on this file: report it to poolscope's developers with the call"
                    .into(),
            ),
        };
        Ok(CallToolResponse::from(match answered {
            Ok(value) => CallToolResult::structured(value),
            Err(why) => CallToolResult::error(vec![ContentBlock::text(short(&why))]),
        }))
    }
}
